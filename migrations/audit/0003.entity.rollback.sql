drop index audit.entry_entity_idx;
drop index audit.entry_entity_type_idx;
