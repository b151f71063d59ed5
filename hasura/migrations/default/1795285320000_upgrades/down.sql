DROP FUNCTION move_image(text, bigint, text, text, text, text);
DROP FUNCTION ask_upgrade(text, text, text);
DROP FUNCTION internal.make_current(text, text);
DROP TABLE image_answers;
