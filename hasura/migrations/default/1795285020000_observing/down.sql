DROP FUNCTION observe_instances(text, text, integer);
DROP FUNCTION observe_images(text);
DROP FUNCTION observe_region(text, text);
DROP FUNCTION begin_pass(text, bigint);
DROP FUNCTION internal.watched_since(text);
DROP FUNCTION internal.prune(text);
DROP FUNCTION internal.raise_fence(text, bigint);
DROP TABLE instance_views, region_views, pass_fences;
