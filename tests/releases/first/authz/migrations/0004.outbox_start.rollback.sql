delete from authz.relay;
delete from authz.outbox_rotation;
