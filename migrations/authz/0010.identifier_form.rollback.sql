alter domain authz.identifier drop constraint identifier_form;
alter domain authz.identifier add constraint identifier_form check (value ~ '^[A-Za-z0-9_.:@-]{1,128}$') not valid;
alter domain authz.identifier validate constraint identifier_form;
