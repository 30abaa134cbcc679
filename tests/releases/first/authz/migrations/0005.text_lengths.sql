-- depends: 0004.outbox_start
-- transactional: true
-- purpose: no row of the permission graph holds more, or a time further off, than a decision can carry
-- kind: schema
-- phase: expand
-- tables: authz.user authz.space authz.group authz.member authz.user_member authz.resource_type authz.resource_action authz.role authz.permission authz.role_permission authz.member_role authz.resource
-- columns: none
-- indexes: none
-- constraints: +authz.user_display_name_length +authz.user_metadata_size +authz.user_times_representable +authz.space_name_length +authz.space_metadata_size +authz.space_times_representable +authz.group_name_length +authz.group_metadata_size +authz.group_times_representable +authz.member_display_name_length +authz.member_type_length +authz.member_metadata_size +authz.member_times_representable +authz.user_member_relation_type_length +authz.user_member_revoked_reason_length +authz.user_member_metadata_size +authz.user_member_times_representable +authz.resource_type_display_name_length +authz.resource_type_description_length +authz.resource_type_metadata_size +authz.resource_type_times_representable +authz.resource_action_display_name_length +authz.resource_action_metadata_size +authz.resource_action_times_representable +authz.role_name_length +authz.role_description_length +authz.role_metadata_size +authz.role_times_representable +authz.permission_metadata_size +authz.permission_times_representable +authz.role_permission_metadata_size +authz.role_permission_times_representable +authz.member_role_revoked_reason_length +authz.member_role_metadata_size +authz.member_role_times_representable +authz.resource_display_name_length +authz.resource_metadata_size +authz.resource_times_representable
-- locks: access exclusive on each table, without reading it
-- backfill: none
-- rollback: drops the constraints
-- compatibility: the release before writes nothing that is refused; stored rows are left alone until 0006.text_lengths_valid
-- review: security
-- (The limits are those of what a request may bring itself, services/authz/asking.py: 256 characters of text, 64 of a word,
-- 16,384 bytes of JSON. Prose that no decision carries may have 2,000. A decision whose facts were larger could not be
-- written into an event. A time outside the years 1 to 9999, infinity among them, could not even be read.)

alter table authz.user
    add constraint user_display_name_length check (length(display_name) <= 256) not valid,
    add constraint user_metadata_size check (octet_length(metadata::text) <= 8192) not valid,
    add constraint user_times_representable check (
        least(created_at, updated_at) >= '0001-01-01T00:00:00Z'
        and greatest(created_at, updated_at) < '10000-01-01T00:00:00Z'
    ) not valid;
alter table authz.space
    add constraint space_name_length check (length(name) <= 256) not valid,
    add constraint space_metadata_size check (octet_length(metadata::text) <= 8192) not valid,
    add constraint space_times_representable check (
        least(created_at, updated_at) >= '0001-01-01T00:00:00Z'
        and greatest(created_at, updated_at) < '10000-01-01T00:00:00Z'
    ) not valid;
alter table authz.group
    add constraint group_name_length check (length(name) <= 256) not valid,
    add constraint group_metadata_size check (octet_length(metadata::text) <= 8192) not valid,
    add constraint group_times_representable check (
        least(created_at, updated_at) >= '0001-01-01T00:00:00Z'
        and greatest(created_at, updated_at) < '10000-01-01T00:00:00Z'
    ) not valid;
alter table authz.member
    add constraint member_display_name_length check (length(display_name) <= 256) not valid,
    add constraint member_type_length check (length(member_type) between 1 and 64) not valid,
    add constraint member_metadata_size check (octet_length(metadata::text) <= 8192) not valid,
    add constraint member_times_representable check (
        least(created_at, updated_at) >= '0001-01-01T00:00:00Z'
        and greatest(created_at, updated_at) < '10000-01-01T00:00:00Z'
    ) not valid;
alter table authz.user_member
    add constraint user_member_relation_type_length check (length(relation_type) <= 256) not valid,
    add constraint user_member_revoked_reason_length check (length(revoked_reason) <= 2000) not valid,
    add constraint user_member_metadata_size check (octet_length(metadata::text) <= 8192) not valid,
    add constraint user_member_times_representable check (
        least(created_at, updated_at, expires_at, revoked_at) >= '0001-01-01T00:00:00Z'
        and greatest(created_at, updated_at, expires_at, revoked_at) < '10000-01-01T00:00:00Z'
    ) not valid;
alter table authz.resource_type
    add constraint resource_type_display_name_length check (length(display_name) <= 256) not valid,
    add constraint resource_type_description_length check (length(description) <= 2000) not valid,
    add constraint resource_type_metadata_size check (octet_length(metadata::text) <= 8192) not valid,
    add constraint resource_type_times_representable check (
        least(created_at, updated_at) >= '0001-01-01T00:00:00Z'
        and greatest(created_at, updated_at) < '10000-01-01T00:00:00Z'
    ) not valid;
alter table authz.resource_action
    add constraint resource_action_display_name_length check (length(display_name) <= 256) not valid,
    add constraint resource_action_metadata_size check (octet_length(metadata::text) <= 8192) not valid,
    add constraint resource_action_times_representable check (
        least(created_at, updated_at) >= '0001-01-01T00:00:00Z'
        and greatest(created_at, updated_at) < '10000-01-01T00:00:00Z'
    ) not valid;
alter table authz.role
    add constraint role_name_length check (length(name) <= 256) not valid,
    add constraint role_description_length check (length(description) <= 2000) not valid,
    add constraint role_metadata_size check (octet_length(metadata::text) <= 8192) not valid,
    add constraint role_times_representable check (
        least(created_at, updated_at) >= '0001-01-01T00:00:00Z'
        and greatest(created_at, updated_at) < '10000-01-01T00:00:00Z'
    ) not valid;
alter table authz.permission
    add constraint permission_metadata_size check (octet_length(metadata::text) <= 8192) not valid,
    add constraint permission_times_representable check (
        least(created_at, updated_at) >= '0001-01-01T00:00:00Z'
        and greatest(created_at, updated_at) < '10000-01-01T00:00:00Z'
    ) not valid;
alter table authz.role_permission
    add constraint role_permission_metadata_size check (octet_length(metadata::text) <= 8192) not valid,
    add constraint role_permission_times_representable check (
        least(created_at, updated_at) >= '0001-01-01T00:00:00Z'
        and greatest(created_at, updated_at) < '10000-01-01T00:00:00Z'
    ) not valid;
alter table authz.member_role
    add constraint member_role_revoked_reason_length check (length(revoked_reason) <= 2000) not valid,
    add constraint member_role_metadata_size check (octet_length(metadata::text) <= 8192) not valid,
    add constraint member_role_times_representable check (
        least(created_at, updated_at, not_before, expires_at, revoked_at) >= '0001-01-01T00:00:00Z'
        and greatest(created_at, updated_at, not_before, expires_at, revoked_at) < '10000-01-01T00:00:00Z'
    ) not valid;
alter table authz.resource
    add constraint resource_display_name_length check (length(display_name) <= 256) not valid,
    add constraint resource_metadata_size check (octet_length(metadata::text) <= 8192) not valid,
    add constraint resource_times_representable check (
        least(created_at, updated_at) >= '0001-01-01T00:00:00Z'
        and greatest(created_at, updated_at) < '10000-01-01T00:00:00Z'
    ) not valid;
