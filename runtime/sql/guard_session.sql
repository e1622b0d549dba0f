-- guard_session: the server gives up a statement, and a transaction whose client is silent, so that no lock outlives
-- us; and plans statements by their parameters, or not
select
    set_config('statement_timeout', %(statement_ms)s, false),
    set_config('idle_in_transaction_session_timeout', %(silence_ms)s, false),
    set_config('tcp_user_timeout', %(silence_ms)s, false),
    set_config('plan_cache_mode', %(plans)s, false)
