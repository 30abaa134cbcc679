alter table authz.outbox drop column events_length;
