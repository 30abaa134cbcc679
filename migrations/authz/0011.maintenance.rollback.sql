drop table authz.maintenance;
