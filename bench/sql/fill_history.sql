-- Fills the history with made-up sessions and instances, to measure with: never in a database in use.
--
--     psql … -v sessions=10000000 -v days=90 -f bench/sql/fill_history.sql
--
-- One region, `us-east-1`. 1,600 instances a day with four slots each live for six hours. A session lasts for
-- twenty minutes on average. One in ten waited in line.

\set ON_ERROR_STOP on

INSERT INTO regions (name, target_free, max_instances, launch_choices)
VALUES ('us-east-1', 100, 5000, '[]') ON CONFLICT DO NOTHING;

INSERT INTO instance_history
SELECT 'i-' || lpad(to_hex(n), 17, '0'), 'us-east-1', 'launch-' || n, 'ami-1', '3b1f', 'm6i.large',
    'subnet-01a0000000000000a', n % 2 = 0, 4, t.at,
    CASE WHEN n % 100 > 0 THEN t.at + interval '90 seconds' END,
    CASE WHEN n % 100 > 0 THEN t.at + interval '6 hours' END, CASE WHEN n % 100 > 0 THEN 'SURPLUS' END,
    NULL, NULL, t.at + interval '6 hours', t.at + interval '6 hours 1 minute',
    CASE WHEN n % 100 > 0 THEN 'DRAINED' ELSE 'NEVER_REGISTERED' END,
    CASE WHEN n % 100 > 0 THEN 70 ELSE 0 END, 80000, 21000, 660
FROM generate_series(1, :days * 1600) AS n
CROSS JOIN LATERAL (
    SELECT now() - make_interval(days => :days) + n * interval '54 seconds' AS at
) t
WHERE t.at < now() - interval '7 hours';

-- In the order in which sessions end, as the service writes them.
INSERT INTO session_history
SELECT 'user-' || (random() * 1000000)::integer, 'session-' || n, 'us-east-1',
    'i-' || lpad(to_hex(greatest(1, n / (:sessions / (:days * 1600)) - (random() * 380)::integer)), 17, '0'),
    'ami-1', 'm6i.large', gen_random_uuid(), t.ended_at - t.length - t.waited, t.ended_at - t.length,
    t.ended_at - t.length + interval '2 seconds', t.ended_at - t.length + interval '4 seconds',
    t.ended_at, (ARRAY['AGENT', 'AGENT', 'AGENT', 'USER', 'LIMIT', 'LOST'])[1 + n % 6], NULL,
    extract(epoch FROM t.waited)
FROM generate_series(1, :sessions) AS n
CROSS JOIN LATERAL (
    SELECT now() - make_interval(days => :days) + n * (make_interval(days => :days) / :sessions)
            AS ended_at,
        -ln(1 - random() * 0.9999) * interval '20 minutes' AS length,
        CASE WHEN n % 10 = 0 THEN random() * interval '60 seconds' ELSE interval '0' END AS waited
) t;

ANALYZE session_history;
ANALYZE instance_history;
