drop index authz.resource_list_idx, authz.member_role_anchor_idx, authz.member_role_list_idx,
    authz.role_permission_list_idx, authz.user_member_list_idx;
drop table authz.idempotency_key;
