drop table authz.relay, authz.outbox_refused, authz.outbox_rotation, authz.outbox, authz.outbox_writer, authz.event;
drop function authz.reclaim_outbox();
drop function authz.check_event_revision();
drop function authz.refuse_change();
