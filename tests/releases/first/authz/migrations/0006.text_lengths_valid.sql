-- depends: 0005.text_lengths
-- transactional: true
-- purpose: the limits of 0005.text_lengths hold for the rows that were there before it, too
-- kind: schema
-- phase: expand
-- tables: authz.user authz.space authz.group authz.member authz.user_member authz.resource_type authz.resource_action authz.role authz.permission authz.role_permission authz.member_role authz.resource
-- columns: none
-- indexes: none
-- constraints: authz.user_display_name_length authz.user_metadata_size authz.user_times_representable authz.space_name_length authz.space_metadata_size authz.space_times_representable authz.group_name_length authz.group_metadata_size authz.group_times_representable authz.member_display_name_length authz.member_type_length authz.member_metadata_size authz.member_times_representable authz.user_member_relation_type_length authz.user_member_revoked_reason_length authz.user_member_metadata_size authz.user_member_times_representable authz.resource_type_display_name_length authz.resource_type_description_length authz.resource_type_metadata_size authz.resource_type_times_representable authz.resource_action_display_name_length authz.resource_action_metadata_size authz.resource_action_times_representable authz.role_name_length authz.role_description_length authz.role_metadata_size authz.role_times_representable authz.permission_metadata_size authz.permission_times_representable authz.role_permission_metadata_size authz.role_permission_times_representable authz.member_role_revoked_reason_length authz.member_role_metadata_size authz.member_role_times_representable authz.resource_display_name_length authz.resource_metadata_size authz.resource_times_representable
-- locks: share update exclusive on each table while it is read
-- backfill: none; a row beyond a limit makes this fail by the name of the limit, and is to be shortened first
-- rollback: none needed: what was proved to hold goes on to be checked
-- compatibility: the release before reads and writes as before
-- review: security

alter table authz.user
    validate constraint user_display_name_length,
    validate constraint user_metadata_size,
    validate constraint user_times_representable;
alter table authz.space
    validate constraint space_name_length,
    validate constraint space_metadata_size,
    validate constraint space_times_representable;
alter table authz.group
    validate constraint group_name_length,
    validate constraint group_metadata_size,
    validate constraint group_times_representable;
alter table authz.member
    validate constraint member_display_name_length,
    validate constraint member_type_length,
    validate constraint member_metadata_size,
    validate constraint member_times_representable;
alter table authz.user_member
    validate constraint user_member_relation_type_length,
    validate constraint user_member_revoked_reason_length,
    validate constraint user_member_metadata_size,
    validate constraint user_member_times_representable;
alter table authz.resource_type
    validate constraint resource_type_display_name_length,
    validate constraint resource_type_description_length,
    validate constraint resource_type_metadata_size,
    validate constraint resource_type_times_representable;
alter table authz.resource_action
    validate constraint resource_action_display_name_length,
    validate constraint resource_action_metadata_size,
    validate constraint resource_action_times_representable;
alter table authz.role
    validate constraint role_name_length,
    validate constraint role_description_length,
    validate constraint role_metadata_size,
    validate constraint role_times_representable;
alter table authz.permission
    validate constraint permission_metadata_size,
    validate constraint permission_times_representable;
alter table authz.role_permission
    validate constraint role_permission_metadata_size,
    validate constraint role_permission_times_representable;
alter table authz.member_role
    validate constraint member_role_revoked_reason_length,
    validate constraint member_role_metadata_size,
    validate constraint member_role_times_representable;
alter table authz.resource
    validate constraint resource_display_name_length,
    validate constraint resource_metadata_size,
    validate constraint resource_times_representable;
