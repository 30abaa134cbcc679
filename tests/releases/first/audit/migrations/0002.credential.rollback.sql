drop table audit.credential;
