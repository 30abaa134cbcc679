drop table authz.resource, authz.member_role, authz.role_permission, authz.permission, authz.role,
    authz.resource_action, authz.resource_type, authz.user_member, authz.member, authz.group, authz.space, authz.user;
drop function authz.check_group_path();
drop domain authz.json_object;
drop domain authz.identifier;
drop schema authz;
