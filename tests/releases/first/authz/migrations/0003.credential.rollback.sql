drop table authz.credential;
