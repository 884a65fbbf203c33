/* What somebody who waits for administration is told: for whom he waits, and how far his own is. */

#include "aggregator/admin_running.h"

#include <jansson.h>
#include <string.h>

#include "core/buf.h"
#include "tests/lib/test.h"

enum { ASK, CHANGE, COPY };

struct told {
	json_t *root;
};

static void told_fini(struct told *told)
{
	json_decref(told->root);
}

static struct told ask(
        struct admin_running *running, uint32_t place, uint32_t lane, const char *request)
{
	AUTO_BUF text = { 0 };
	struct json_writer json = json_writer_of(&text, false);
	json_object_begin(&json);
	admin_running_put(running, place, lane, request, &json);
	json_object_end(&json);
	assert_false(text.failed);
	struct told told = { json_loadb((const char *)text.bytes, text.count, 0, NULL) };
	assert_non_null(told.root);
	return told;
}

#define TOLD __attribute__((cleanup(told_fini))) struct told

static const char *told_before(const struct told *told)
{
	const json_t *before = json_object_get(told->root, "before");
	return before ? json_string_value(json_object_get(before, "method")) : "nothing";
}

static void who_waits_is_told_for_what(void **state)
{
	struct admin_running *running = admin_running_new();
	(void)state;
	assert_non_null(running);
	admin_running_begin(running, 2, CHANGE, "retention.forget", "eve@host", "one");
	admin_running_begin(running, 3, COPY, "backup.create", "bob@host", "two");
	/* The question has the id of what it is about, and is not at work on that. */
	admin_running_begin(running, 0, ASK, "admin.progress", "ann@host", "three");

	TOLD change = ask(running, 0, CHANGE, "three");
	assert_false(json_is_true(json_object_get(change.root, "is_running")));
	assert_string_equal(told_before(&change), "retention.forget");
	const json_t *before = json_object_get(change.root, "before");
	assert_string_equal(json_string_value(json_object_get(before, "actor")), "eve@host");
	TOLD copy = ask(running, 0, COPY, "three");
	assert_string_equal(told_before(&copy), "backup.create");
	/* What only asks waits for nobody in particular. */
	TOLD asks = ask(running, 0, ASK, "three");
	assert_string_equal(told_before(&asks), "nothing");

	admin_running_end(running, 2);
	TOLD after = ask(running, 0, CHANGE, "three");
	assert_string_equal(told_before(&after), "nothing");
	admin_running_free(running);
}

static void who_is_at_work_is_told_how_far(void **state)
{
	struct admin_running *running = admin_running_new();
	(void)state;
	assert_non_null(running);
	admin_running_begin(running, 3, COPY, "backup.create", "bob@host", "two");
	admin_running_at(running, 3, 25, 100);
	TOLD own = ask(running, 0, COPY, "two");
	assert_true(json_is_true(json_object_get(own.root, "is_running")));
	assert_int_equal(json_integer_value(json_object_get(own.root, "done")), 25);
	assert_int_equal(json_integer_value(json_object_get(own.root, "total")), 100);
	assert_string_equal(told_before(&own), "nothing");
	/* The next in the place begins at nothing. */
	admin_running_end(running, 3);
	admin_running_begin(running, 3, COPY, "backup.verify", "bob@host", "four");
	TOLD next = ask(running, 0, COPY, "four");
	assert_int_equal(json_integer_value(json_object_get(next.root, "total")), 0);
	admin_running_free(running);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_waits_is_told_for_what),
		cmocka_unit_test(who_is_at_work_is_told_how_far),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
