/* The inverted index gives what going over every series would, also after entries were taken back.
 */

#include "storage/label_index.h"

#include <stdio.h>

#include "core/rng.h"
#include "tests/lib/test.h"

static const char *const selectors[] = {
	"{}",
	"cpu",
	"offcpu{}",
	"nothing",
	"{a=\"1\"}",
	"{a=\"\"}",
	"{a!=\"1\"}",
	"{a!=\"\"}",
	"{a=~\"1|2\"}",
	"{a=~\"1?\"}",
	"{a!~\"1|2\"}",
	"{a!~\".+\"}",
	"{a=~\".*\"}",
	"{unknown=\"\"}",
	"{unknown=\"x\"}",
	"{unknown!=\"x\"}",
	"cpu{a=\"1\",b!=\"2\",c=~\"[01]\"}",
	"cpu{a=\"unknown\"}",
	"{a=\"1\",a=\"2\"}",
};

static uint32_t string(struct dict *dict, const char *text)
{
	uint32_t id;
	CHECK_OK(dict_cstring(dict, text, &id));
	return id;
}

static void add_series(struct dict *dict, struct rng *rng)
{
	static const char *const names[] = { "a", "b", "c" };
	struct series series = {
		.type = string(dict, rng_below(rng, 3) ? "cpu" : "offcpu"),
		.period = 1 + rng_below(rng, 50), /* so that equal labels are several series */
	};
	struct label labels[3];
	uint32_t count = 0;
	uint32_t id;
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		char value[2] = { (char)('0' + rng_below(rng, 4)), 0 };
		if (rng_below(rng, 3) == 0)
			continue;
		labels[count++] = (struct label){ string(dict, names[i]), string(dict, value) };
	}
	CHECK_OK(dict_series(dict, &series, labels, count, &id));
}

static void check_all(struct label_index *index, struct dict *dict, uint32_t series_count)
{
	for (size_t i = 0; i < COUNT_OF(selectors); i++) {
		AUTO(selector) selector = NULL;
		char error[256];
		uint32_t *found;
		uint32_t count;
		uint32_t at = 0;
		if (selector_parse(selectors[i], &selector, error, sizeof(error)) < 0)
			fail_msg("%s: %s", selectors[i], error);
		CHECK_OK(label_index_find(index, dict, selector, series_count, &found, &count));
		for (uint32_t id = 0; id < series_count; id++)
			if (selector_matches(selector, dict, id) &&
			        !(at < count && found[at++] == id))
				fail_msg("%s: series %u is missing", selectors[i], id);
		if (at != count)
			fail_msg("%s: series %u does not match", selectors[i], found[at]);
		free(found);
	}
}

static void the_index_agrees_with_going_over_every_series(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(label_index) index = label_index_new();
	struct rng rng;
	rng_init(&rng, 1);

	check_all(index, dict, 0);
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 10; i++)
			add_series(dict, &rng);
		struct dict_mark mark = dict_mark(dict);
		CHECK_OK(label_index_extend(index, dict));
		check_all(index, dict, mark.series);
		/* Only what is published is found. */
		check_all(index, dict, mark.series / 2);

		/* What is taken back gives its ids to others. */
		for (int i = 0; i < 5; i++)
			add_series(dict, &rng);
		CHECK_OK(label_index_extend(index, dict));
		label_index_truncate(index, dict, mark.series);
		dict_truncate(dict, mark);
		check_all(index, dict, mark.series);
	}
	assert_true(label_index_memory(index) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_index_agrees_with_going_over_every_series),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
