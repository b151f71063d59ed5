DROP FUNCTION give_notice(text, text);
