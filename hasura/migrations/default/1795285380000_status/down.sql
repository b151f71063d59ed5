DROP FUNCTION status_images();
DROP FUNCTION status_regions(text);
DROP TABLE image_statuses;
DROP TABLE region_statuses;
