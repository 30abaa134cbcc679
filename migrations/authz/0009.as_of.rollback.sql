drop index authz.event_resource_action_idx;
drop index authz.event_resource_type_idx;
drop index authz.event_role_permission_idx;
drop index authz.event_member_role_idx;
drop index authz.event_occurred_idx;
