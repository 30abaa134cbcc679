select 'what was proved to hold need not be unproved';
