/* What is written is compared as text and read back by jansson. */

#include "core/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/rng.h"
#include "tests/lib/test.h"

static void write_example(struct json_writer *json)
{
	json_object_begin(json);
	json_key_u64(json, "schema_version", 1);
	json_key(json, "nested");
	json_array_begin(json);
	json_write_null(json);
	json_u64(json, 5);
	json_object_begin(json);
	json_object_end(json);
	json_array_begin(json);
	json_array_end(json);
	json_array_end(json);
	json_key_bool(json, "done", true);
	json_key_text(json, "text", "x");
	json_object_end(json);
}

static void compact_and_pretty_say_the_same(void **state)
{
	AUTO_BUF compact = { 0 };
	AUTO_BUF pretty = { 0 };
	struct json_writer json = json_writer_of(&compact, false);
	write_example(&json);
	buf_put_u8(&compact, 0);
	assert_string_equal((char *)compact.bytes,
	        "{\"schema_version\":1,\"nested\":[null,5,{},[]],\"done\":true,\"text\":\"x\"}");

	json = json_writer_of(&pretty, true);
	write_example(&json);
	buf_put_u8(&pretty, 0);
	assert_string_equal((char *)pretty.bytes, "{\n"
	                                          "  \"schema_version\": 1,\n"
	                                          "  \"nested\": [\n"
	                                          "    null,\n"
	                                          "    5,\n"
	                                          "    {},\n"
	                                          "    []\n"
	                                          "  ],\n"
	                                          "  \"done\": true,\n"
	                                          "  \"text\": \"x\"\n"
	                                          "}");
}

static void untrusted_text_stays_text(void **state)
{
	static const struct {
		const char *given;
		size_t count;
		const char *written;
	} cases[] = {
		{ "plain", 5, "\"plain\"" },
		{ "", 0, "\"\"" },
		{ "\"\\\n\t\r", 5, "\"\\\"\\\\\\n\\t\\u000d\"" },
		{ "a\0b", 3, "\"a\\u0000b\"" },
		{ "\x1b[31m\x7f", 6, "\"\\u001b[31m\\u007f\"" },
		{ "\xc2\x9b", 2, "\"\\u009b\"" },
		{ "</script>&", 10, "\"\\u003c/script\\u003e\\u0026\"" },
		{ "\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xae", 9, "\"\\u2028\\u2029\\u202e\"" },
		{ "\xff\xc3(", 3, "\"\xef\xbf\xbd\xef\xbf\xbd(\"" },
		{ "\xf0\x9f\x94\xa5\xc3\xa9", 6, "\"\xf0\x9f\x94\xa5\xc3\xa9\"" },
		{ "\xf0\x9f", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO_BUF to = { 0 };
		json_put_string(&to, cases[i].given, cases[i].count);
		buf_put_u8(&to, 0);
		assert_string_equal((char *)to.bytes, cases[i].written);
	}
}

static void random_bytes_always_make_json(void **state)
{
	struct rng rng;
	rng_init(&rng, 1);
	for (int round = 0; round < 2000; round++) {
		AUTO_BUF to = { 0 };
		char bytes[40];
		size_t count = rng_below(&rng, sizeof(bytes));
		for (size_t i = 0; i < count; i++)
			bytes[i] = (char)rng_u64(&rng);
		struct json_writer json = json_writer_of(&to, round % 2);
		json_array_begin(&json);
		json_bytes(&json, bytes, count);
		json_array_end(&json);
		json_error_t error;
		json_t *read = json_loadb((char *)to.bytes, to.count,
		        JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
		if (!read)
			print_error("round %d: %s\n", round, error.text);
		CHECK(read);
		json_decref(read);
	}
}

static void numbers_are_exact_at_their_ends(void **state)
{
	AUTO_BUF to = { 0 };
	struct json_writer json = json_writer_of(&to, false);
	json_array_begin(&json);
	json_u64(&json, UINT64_MAX);
	json_double(&json, 0.5);
	json_double(&json, 1e300);
	json_double(&json, NAN);
	json_double(&json, -INFINITY);
	json_array_end(&json);
	buf_put_u8(&to, 0);
	assert_string_equal((char *)to.bytes, "[18446744073709551615,0.5,1e+300,null,null]");
}

static void nest(struct buf *to, uint32_t depth)
{
	struct json_writer json = json_writer_of(to, false);
	for (uint32_t i = 0; i < depth; i++)
		json_array_begin(&json);
	for (uint32_t i = 0; i < depth; i++)
		json_array_end(&json);
}

static void depth_beyond_the_limit_is_an_error_and_no_crash(void **state)
{
	AUTO_BUF to = { 0 };
	nest(&to, JSON_DEPTH_MAX);
	CHECK(!to.failed);
	assert_int_equal(to.count, 2 * JSON_DEPTH_MAX);
	buf_reset(&to);
	nest(&to, JSON_DEPTH_MAX + 2);
	CHECK(to.failed);
}

static void full_buf_fails_once_and_for_all(void **state)
{
	AUTO_BUF whole = { 0 };
	struct json_writer json = json_writer_of(&whole, false);
	write_example(&json);

	for (size_t limit = 1; limit < whole.count; limit++) {
		AUTO_BUF to = { .limit = limit };
		json = json_writer_of(&to, false);
		write_example(&json);
		CHECK(to.failed);
		CHECK(to.count <= limit);
		assert_memory_equal(to.count ? to.bytes : whole.bytes, whole.bytes, to.count);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compact_and_pretty_say_the_same),
		cmocka_unit_test(untrusted_text_stays_text),
		cmocka_unit_test(random_bytes_always_make_json),
		cmocka_unit_test(numbers_are_exact_at_their_ends),
		cmocka_unit_test(depth_beyond_the_limit_is_an_error_and_no_crash),
		cmocka_unit_test(full_buf_fails_once_and_for_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
