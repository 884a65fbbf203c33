/*
 * What an aggregator's JSON says is missing is told in full, by the names that it has: as many of
 * them as an answer holds, and no more of what claims to have more.
 */

#include "query/json_missing.h"

#include <stdio.h>
#include <string.h>

#include "profile/answer.h"
#include "tests/lib/test.h"

/* What is printed of so many places that cannot be read, named by their numbers. */
static char *printed(uint32_t count, uint64_t corrupt, struct buf *to)
{
	struct json_reply reply = { 0 };
	buf_printf(&reply.text,
	        "{\"completeness\":{\"batches_corrupt\":%llu,\"cut_begin_ns\":0,\"unreadable\":[",
	        (unsigned long long)corrupt);
	for (uint32_t i = 0; i < count; i++)
		buf_printf(&reply.text,
		        "%s{\"from_ns\":1700000000000000000,\"to_ns\":1700000600000000000,"
		        "\"service\":\"cart\",\"type\":\"cpu\",\"what\":\"block %u.\"}",
		        i ? "," : "", i);
	buf_printf(&reply.text, "]}}");
	CHECK_OK(json_reply_parse(&reply));
	json_missing_put_below(reply.root, to);
	json_reply_fini(&reply);
	buf_put_u8(to, 0);
	CHECK(!to->failed);
	return (char *)to->bytes;
}

static bool names(const char *text, uint32_t number)
{
	char name[32];
	snprintf(name, sizeof(name), "cart type cpu: block %u.\n", number);
	return strstr(text, name) != NULL;
}

static void every_place_is_named(void **state)
{
	for (uint32_t count = 1; count <= ANSWER_UNREADABLE_MAX + 1; count++) {
		AUTO_BUF to = { 0 };
		char *text = printed(count, count, &to);
		for (uint32_t i = 0; i < count && i < ANSWER_UNREADABLE_MAX; i++)
			assert_true(names(text, i));
		assert_false(names(text, ANSWER_UNREADABLE_MAX));
		bool has_more = strstr(text, "and more") != NULL;
		assert_int_equal(has_more, count > ANSWER_UNREADABLE_MAX);
	}
}

static void nothing_is_said_of_what_is_whole(void **state)
{
	AUTO_BUF to = { 0 };
	assert_string_equal(printed(0, 0, &to), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_place_is_named),
		cmocka_unit_test(nothing_is_said_of_what_is_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
