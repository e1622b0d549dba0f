-- check_at_once: what would be checked at the commit is checked by each statement, so that the bad rows can be found
set constraints all immediate
