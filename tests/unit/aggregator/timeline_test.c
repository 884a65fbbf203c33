/*
 * timeline where rows and windows of ten minutes are gone and hours are left: steps that would cut
 * an hour are made shorter, and each hour is in the steps of its own time, whatever was asked for.
 */

#include "tests/lib/test.h"

#include <inttypes.h>
#include <string.h>

#include "aggregator/answer_timeline.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"

#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define HOURS  3

/* A report every ten minutes, of as many units as it has minutes behind it, and one. */
static struct store *store_of_hours(const char *path)
{
	struct store *store = store_fixture_open(path);
	struct source source = source_new(store, 1);
	for (uint64_t i = 0; i < HOURS * 6; i++) {
		source_begin(&source, i * 10 * MINUTE + MINUTE, MINUTE);
		CHECK_OK(batch_add_row(source.batch, source_series(&source, "cart", "i", 1),
		        source_stack(&source, "work"), i * 10 + 1));
		assert_int_equal(source_append(&source, store, i + 1), WIRE_OK);
	}
	source_free(&source);
	CHECK_OK(store_seal(store, HOURS * HOUR));
	CHECK_OK(store_roll(store, HOURS * HOUR));
	return store;
}

/* What begins in [from_ns, to_ns). */
static uint64_t expected(uint64_t from_ns, uint64_t to_ns)
{
	uint64_t value = 0;
	for (uint64_t i = 0; i < HOURS * 6; i++) {
		uint64_t start_ns = i * 10 * MINUTE + MINUTE;
		value += start_ns >= from_ns && start_ns < to_ns ? i * 10 + 1 : 0;
	}
	return value;
}

static void hide_fine(struct store *store)
{
	struct store_expire_item items[HOURS * 6];
	struct store_run run = { .id = 1, .hidden_ns = 5, .erase_ns = 6, .note = "a test" };
	struct store_expired expired;
	for (uint64_t i = 0; i < COUNT_OF(items); i++)
		items[i] = (struct store_expire_item){ { 0, 0, i * 10 * MINUTE,
			                                       (i + 1) * 10 * MINUTE },
			STORE_UNIT_NONE, STORE_PART_ALL };
	CHECK_OK(store_hide(store, &run, items, COUNT_OF(items), &expired));
	assert_int_equal(expired.windows[0], COUNT_OF(items));
}

static uint64_t number_behind(const char **text, const char *name)
{
	uint64_t number = 0;
	*text = strstr(*text, name);
	assert_non_null(*text);
	*text += strlen(name);
	if (sscanf(*text, "%" SCNu64, &number) != 1)
		fail_msg("%s: no number", name);
	return number;
}

/* Asks for all of it, and checks each step and that they are one behind the other. */
static void expect(
        struct store *store, uint64_t step_ns, uint64_t expected_step_ns, uint32_t expected_count)
{
	char error[256] = "";
	bool cancelled = false;
	uint64_t read_ns = 0;
	struct answer_build_options options = {
		.memory_max = 64 << 20, .cancelled = &cancelled, .read_ns = &read_ns
	};
	struct wire_query query = {
		.question = WIRE_ASK_TIMELINE,
		.group = WIRE_GROUP_TYPE,
		.sides_count = 1,
		.sides = { { .selector = { "cpu", 3 }, .to_ns = HOURS * HOUR } },
		.step_ns = step_ns,
	};
	AUTO_BUF json = { 0 };
	if (answer_timeline(store, NULL, &query, &options, &json, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	buf_put(&json, "", 1);
	assert_false(json.failed);
	const char *text = (const char *)json.bytes;
	assert_int_equal(number_behind(&text, "\"step_ns\":"), expected_step_ns);
	assert_int_equal(read_ns, HOURS * HOUR);
	uint64_t at_ns = 0;
	uint32_t count = 0;
	for (; strstr(text, "\"from_ns\":"); count++) {
		uint64_t from_ns = number_behind(&text, "\"from_ns\":");
		uint64_t to_ns = number_behind(&text, "\"to_ns\":");
		assert_int_equal(from_ns, at_ns);
		assert_int_equal(number_behind(&text, "\"value\":"), expected(from_ns, to_ns));
		at_ns = to_ns;
	}
	assert_int_equal(at_ns, HOURS * HOUR);
	assert_int_equal(count, expected_count);
}

static void rows_are_told_by_any_step(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_of_hours(dir.path);
	expect(store, 433 * SECOND, 433 * SECOND, 25);
	expect(store, 7 * MINUTE, 7 * MINUTE, 26);
}

static void an_hour_is_in_no_step_but_its_own(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_of_hours(dir.path);
	hide_fine(store);
	expect(store, 400 * SECOND, 400 * SECOND, HOURS);
	expect(store, 433 * SECOND, 400 * SECOND, HOURS);
	expect(store, 50 * MINUTE, 30 * MINUTE, HOURS);
	expect(store, HOUR, HOUR, HOURS);
	expect(store, HOUR + SECOND, HOUR, HOURS);
	expect(store, 2 * HOUR + 1, 2 * HOUR, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_told_by_any_step),
		cmocka_unit_test(an_hour_is_in_no_step_but_its_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
