/*
 * Collapsing to functions: what a day says by function, by version and in all is the same before
 * and after, stacks are fewer, and whatever goes wrong leaves the day as it was.
 */

#include <errno.h>

#include "profile/naming.h"
#include "storage/store_expire.h"
#include "tests/lib/fault.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW   (60 * SECOND)
#define HOUR     (4 * WINDOW) /* of these tests */
#define DAY      (2 * HOUR)
#define AGE      (3 * DAY)
#define NAMED    1024 /* nodes of answers by function */
#define VERSIONS 2
/*
 * copy below one work and below two, three and four, hash, what is between them, and three leaves
 * of the file without symbols.
 */
#define COLLAPSED 9

struct place {
	struct store *store;
	struct clock_virtual clock;
	struct store_options options;
	struct source source;
	uint64_t seq;
	struct dict *named; /* of all answers, so that they can be compared */
};

static void place_begin(struct place *place, const char *path)
{
	*place = (struct place){ .options = store_fixture_options(path) };
	clock_virtual_init(&place->clock, DAY);
	place->options.clock = &place->clock.clock;
	place->options.window_ns = WINDOW;
	place->options.roll_ns[0] = HOUR;
	place->options.roll_ns[1] = DAY;
	place->options.collapse_after_ns = AGE;
	place->store = store_fixture_open_with(place->options);
	place->source = source_new(place->store, 1);
	place->named = dict_new(dict_limits_default);
	assert_non_null(place->named);
}

static void place_reopen(struct place *place)
{
	store_free(place->store);
	place->store = store_fixture_open_with(place->options);
}

static void place_end(struct place *place)
{
	source_free(&place->source);
	dict_free(place->named);
	store_free(place->store);
}

/* ---- what is put ---- */

static void put_table(
        struct place *place, const char *build_id, const char *const *names, uint32_t count)
{
	AUTO(symbols_builder) builder = symbols_builder_new();
	AUTO_BUF table = { 0 };
	assert_non_null(builder);
	for (uint32_t i = 0; i < count; i++)
		CHECK_OK(symbols_builder_add(
		        builder, 0x1000 * (i + 1), 0x100, names[i], strlen(names[i])));
	CHECK_OK(symbols_builder_finish(builder, &table));
	CHECK_OK(store_symbols_put(place->store, build_id, table.bytes, table.count));
}

static void put_symbols(struct place *place)
{
	static const char *const app[] = { "main", "work" };
	static const char *const lib[] = { "copy", "hash" };
	put_table(place, "aaaa", app, COUNT_OF(app));
	put_table(place, "bbbb", lib, COUNT_OF(lib));
}

static uint32_t frame_at(struct source *source, const char *build_id, uint64_t address)
{
	struct module module = {
		.name = source_string(source, build_id),
		.build_id = source_string(source, build_id),
	};
	struct frame frame = { .kind = FRAME_NATIVE, .address = address };
	uint32_t id;
	CHECK_OK(dict_module(source->dict, &module, &frame.module));
	CHECK_OK(dict_frame(source->dict, &frame, &id));
	return id;
}

static uint32_t series_of(struct source *source, uint32_t version)
{
	struct series series = {
		.type = source_string(source, "cpu"),
		.unit = source_string(source, "nanoseconds"),
		.period = 7,
	};
	struct label labels[] = {
		{ source_string(source, "service"), source_string(source, "cart") },
		{ source_string(source, "version"), source_string(source, version ? "1" : "0") },
		{ source_string(source, "instance"), source_string(source, version ? "a" : "b") },
	};
	uint32_t id;
	CHECK_OK(dict_series(source->dict, &series, labels, COUNT_OF(labels), &id));
	return id;
}

/*
 * main (two addresses), work (three), which calls itself up to three times, and a leaf: copy
 * (five), hash (its begin), an address that no symbol holds, or a file without symbols.
 */
static uint32_t stack_of(struct source *source, uint32_t number)
{
	uint32_t frames[8];
	uint32_t depth = 0;
	uint32_t node;
	static const uint64_t leaves[] = { 0x1001, 0x1002, 0x1040, 0x10ff, 0x1000, 0x2000, 0x1100 };
	if (number % 8 == 7)
		frames[depth++] = frame_at(source, "cccc", 0x1000 + number);
	else
		frames[depth++] = frame_at(source, "bbbb", leaves[number % 8]);
	for (uint32_t call = 0; call <= number % 4; call++)
		frames[depth++] = frame_at(source, "aaaa", 0x2000 + (number + call) % 3);
	frames[depth++] = frame_at(source, "aaaa", 0x1010 + number % 2);
	CHECK_OK(dict_stack(source->dict, frames, depth, &node));
	return node;
}

static void append(struct place *place, uint64_t start_ns, uint32_t seed)
{
	struct source *source = &place->source;
	source_begin(source, start_ns, 10 * SECOND);
	for (uint32_t version = 0; version < VERSIONS; version++) {
		uint32_t series = series_of(source, version);
		for (uint32_t i = 0; i < 24; i++)
			CHECK_OK(batch_add_row(source->batch, series, stack_of(source, i + seed),
			        1 + (i + seed + version) % 5));
		CHECK_OK(batch_add_coverage(source->batch, series, 9 * SECOND));
		CHECK_OK(batch_add_loss(source->batch, series, LOSS_RING_FULL, 2));
	}
	assert_int_equal(source_append(source, place->store, ++place->seq), WIRE_OK);
}

/* Every window of the first hour and all but one of the second. */
static void fill(struct place *place)
{
	for (uint64_t at = 0; at < DAY - WINDOW; at += WINDOW)
		append(place, at, (uint32_t)(at / WINDOW));
	CHECK_OK(store_seal(place->store, UINT64_MAX));
}

/* ---- what is asked ---- */

struct asked {
	struct completeness completeness;
	uint32_t rows;
	uint64_t values[VERSIONS][NAMED]; /* by node of place->named */
};

struct source_of_symbols {
	struct naming_source source;
	struct store *store;
};

static const struct symbols *find_symbols(struct naming_source *source, const char *build_id)
{
	struct source_of_symbols *of = (struct source_of_symbols *)(void *)source;
	return store_symbols_find(of->store, build_id);
}

static void name_part(struct place *place, const struct dict *dict,
        const struct store_sum_part *part, struct asked *asked)
{
	struct source_of_symbols symbols = { { .find = find_symbols }, place->store };
	AUTO(naming) naming = naming_new(dict, place->named, NAMING_FUNCTION);
	assert_non_null(naming);
	for (uint32_t i = 0; i < part->rows_count; i++) {
		const struct store_sum_row *row = &part->rows[i];
		uint32_t node;
		CHECK_OK(naming_stack(naming, &symbols.source, row->node, &node));
		CHECK(node < NAMED && row->group < VERSIONS);
		asked->values[row->group][node] += row->value;
	}
	asked->rows += part->rows_count;
}

static struct asked ask(struct place *place)
{
	AUTO(store_match) match = store_fixture_find(place->store, "cpu", 0, DAY);
	autofree uint32_t *groups = calloc((size_t)match->series_count + 1, sizeof(*groups));
	struct asked asked = { 0 };
	store_read_lock(place->store);
	for (uint32_t i = 0; i < match->parts_count; i++) {
		const struct store_match_part *part = &match->parts[i];
		uint32_t name = dict_find_string(part->dict, "version", 7);
		for (uint32_t j = 0; j < part->series_count; j++)
			groups[part->first + j] = *dict_text(part->dict,
			                                  dict_label_value(part->dict,
			                                          part->series[j], name)) == '1';
	}
	store_read_unlock(place->store);
	struct store_sum sum = store_fixture_sum_by(place->store, match, groups, 0, DAY);
	store_read_lock(place->store);
	for (uint32_t i = 0; i < sum.parts_count; i++)
		name_part(place, match->parts[i].dict, &sum.parts[i], &asked);
	store_read_unlock(place->store);
	asked.completeness = sum.completeness;
	store_sum_fini(&sum);
	return asked;
}

static void check_same(const struct asked *a, const struct asked *b)
{
	assert_memory_equal(&a->completeness, &b->completeness,
	        offsetof(struct completeness, resolution_finest_ns));
	assert_memory_equal(a->values, b->values, sizeof(a->values));
}

/* There are two hours as well. */
static uint64_t days(struct place *place, bool is_collapsed)
{
	struct store_size size;
	CHECK_OK(store_size(place->store, &size));
	return is_collapsed ? size.collapsed : size.rollups - 2 - size.collapsed;
}

static uint64_t nodes_of(struct place *place)
{
	struct store_size size;
	CHECK_OK(store_size(place->store, &size));
	return size.nodes;
}

/* A day is there and comes to its age. */
static struct asked grow_old(struct place *place)
{
	fill(place);
	CHECK_OK(store_roll(place->store, DAY));
	assert_int_equal(days(place, false), 1);
	clock_virtual_advance(&place->clock, AGE);
	clock_virtual_advance(&place->clock, 1);
	struct asked asked = ask(place);
	assert_int_equal(asked.completeness.resolution_finest_ns, DAY);
	return asked;
}

/* ---- tests ---- */

static void addresses_go_and_functions_stay_when_a_day_is_old(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	put_symbols(&place);
	fill(&place);
	struct asked rows = ask(&place);
	CHECK_OK(store_roll(place.store, DAY));
	clock_virtual_advance(&place.clock, AGE - 1);
	CHECK_OK(store_roll(place.store, DAY));
	assert_int_equal(days(&place, true), 0);
	struct asked before = ask(&place);
	check_same(&rows, &before);
	assert_int_equal(before.completeness.resolution_finest_ns, DAY);

	clock_virtual_advance(&place.clock, 1);
	CHECK_OK(store_roll(place.store, DAY));
	assert_int_equal(days(&place, true), 1);
	assert_int_equal(days(&place, false), 0);
	struct asked after = ask(&place);
	check_same(&before, &after);
	assert_int_equal(after.completeness.resolution_finest_ns, DAY);
	assert_int_equal(after.rows, VERSIONS * COLLAPSED);
	CHECK(before.rows >= VERSIONS * 24);

	uint64_t nodes = nodes_of(&place);
	for (int restarts = 0; restarts < 2; restarts++) {
		CHECK_OK(store_roll(place.store, DAY));
		struct asked again = ask(&place);
		check_same(&before, &again);
		assert_int_equal(again.rows, after.rows);
		assert_int_equal(nodes_of(&place), nodes);
		assert_int_equal(days(&place, true), 1);
		place_reopen(&place);
	}
	place_end(&place);
}

static void without_symbols_nothing_changes(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	CHECK_OK(store_symbols_put(place.store, "aaaa", NULL, 0));
	CHECK_OK(store_symbols_put(place.store, "bbbb", "no table", 8));
	struct asked before = grow_old(&place);
	uint64_t nodes = nodes_of(&place);
	CHECK_OK(store_roll(place.store, DAY));
	assert_int_equal(days(&place, true), 1);
	struct asked after = ask(&place);
	check_same(&before, &after);
	assert_int_equal(after.rows, before.rows);
	assert_int_equal(nodes_of(&place), nodes);
	place_end(&place);
}

static void it_is_never_done_without_an_age(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	place.options.collapse_after_ns = 0;
	place_reopen(&place);
	put_symbols(&place);
	(void)grow_old(&place);
	CHECK_OK(store_roll(place.store, DAY));
	assert_int_equal(days(&place, true), 0);
	place_end(&place);
}

static void a_day_that_is_rolled_up_late_is_collapsed_at_once_and_takes_what_comes_later(
        void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	put_symbols(&place);
	fill(&place);
	clock_virtual_advance(&place.clock, 2 * AGE);
	struct asked rows = ask(&place);
	CHECK_OK(store_roll(place.store, DAY));
	assert_int_equal(days(&place, true), 1);
	struct asked day = ask(&place);
	check_same(&rows, &day);
	uint32_t stacks = day.rows;

	append(&place, DAY - WINDOW, 0);
	CHECK_OK(store_seal(place.store, UINT64_MAX));
	rows = ask(&place);
	CHECK_OK(store_roll(place.store, DAY));
	assert_int_equal(days(&place, true), 1);
	day = ask(&place);
	check_same(&rows, &day);
	assert_int_equal(day.rows, stacks);
	assert_int_equal(day.completeness.resolution_finest_ns, DAY);
	place_end(&place);
}

static void a_generation_that_no_longer_grows_takes_the_new_names(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	place.options.generation_ns = DAY;
	place_reopen(&place);
	put_symbols(&place);
	struct asked before = grow_old(&place);
	append(&place, DAY, 0);
	struct store_size size;
	CHECK_OK(store_size(place.store, &size));
	assert_int_equal(size.generations, 2);
	uint64_t nodes = nodes_of(&place);

	CHECK_OK(store_roll(place.store, DAY));
	assert_int_equal(days(&place, true), 1);
	CHECK(nodes_of(&place) > nodes);
	nodes = nodes_of(&place);
	for (int restarts = 0; restarts < 2; restarts++) {
		struct asked after = ask(&place);
		check_same(&before, &after);
		assert_int_equal(after.rows, VERSIONS * COLLAPSED);
		assert_int_equal(nodes_of(&place), nodes);
		place_reopen(&place);
	}
	append(&place, DAY + WINDOW, 1);
	place_end(&place);
}

static void a_dictionary_without_room_leaves_the_day_as_it_is(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	put_symbols(&place);
	struct asked before = grow_old(&place);
	uint64_t nodes = nodes_of(&place);
	place.options.limits.nodes = (uint32_t)nodes + 1;
	place_reopen(&place);
	for (int turns = 0; turns < 2; turns++) {
		CHECK_OK(store_roll(place.store, DAY));
		assert_int_equal(days(&place, false), 1);
		assert_int_equal(nodes_of(&place), nodes);
		struct asked after = ask(&place);
		check_same(&before, &after);
		assert_int_equal(after.rows, before.rows);
	}
	/* It is tried once in the life of a process. */
	place.options.limits = dict_limits_default;
	place_reopen(&place);
	CHECK_OK(store_roll(place.store, DAY));
	assert_int_equal(days(&place, true), 1);
	place_end(&place);
}

static void want_of_memory_leaves_the_day_as_it_was_or_done(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	put_symbols(&place);
	struct asked before = grow_old(&place);
	uint32_t failures = 0;
	uint32_t leftovers = 0;
	for (uint32_t nth = 0; days(&place, true) == 0; nth++) {
		struct dict_mark mark = dict_mark(store_dict(place.store));
		fault_arm(FAULT_ALLOC, nth, ENOMEM);
		int r = store_roll(place.store, DAY);
		bool has_happened = fault_disarm();
		struct dict_mark now = dict_mark(store_dict(place.store));
		CHECK(r == 0 || (r == -ENOMEM && has_happened));
		failures += r < 0;
		CHECK(now.nodes >= mark.nodes);
		/* As after a kill between the names and the day that needs them. */
		if (r < 0 && now.nodes > mark.nodes) {
			leftovers++;
			place_reopen(&place);
			assert_int_equal(days(&place, false), 1);
			assert_int_equal(nodes_of(&place), now.nodes);
		}
		struct asked after = ask(&place);
		check_same(&before, &after);
		if (r == 0 && days(&place, true) == 0)
			place_reopen(&place); /* its symbols could not be read: noted */
	}
	CHECK(failures > 10);
	assert_int_equal(leftovers, 1);
	place_reopen(&place);
	struct asked after = ask(&place);
	check_same(&before, &after);
	assert_int_equal(after.rows, VERSIONS * COLLAPSED);
	place_end(&place);
}

static void a_day_waits_while_something_of_it_is_hidden_and_what_is_gone_stays_gone(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	put_symbols(&place);
	source_begin(&place.source, WINDOW, SECOND);
	CHECK_OK(batch_add_row(place.source.batch, source_series(&place.source, "shop", "a", 7),
	        stack_of(&place.source, 1), 1000));
	assert_int_equal(source_append(&place.source, place.store, ++place.seq), WIRE_OK);
	struct asked before = grow_old(&place);

	struct store_expire_item item = {
		.window = { 2, 0, 0, DAY },
		.unit = 1,
		.parts = STORE_PART_ALL,
	};
	struct store_run run = { .id = 1 };
	struct store_expired expired;
	CHECK_OK(store_hide(place.store, &run, &item, 1, &expired));
	assert_int_equal(expired.missing, 0);
	CHECK_OK(store_roll(place.store, DAY));
	assert_int_equal(days(&place, true), 0); /* it may come back */
	CHECK_OK(store_erase(place.store, run.id, NULL, &expired));
	before = ask(&place);
	assert_int_equal(before.completeness.value, 7 * 1000);
	CHECK_OK(store_roll(place.store, DAY));
	assert_int_equal(days(&place, true), 1);
	struct asked after = ask(&place);
	check_same(&before, &after);
	assert_int_equal(after.completeness.resolution_finest_ns, DAY);
	place_end(&place);
}

static void a_failed_write_is_taken_back_and_tried_again(void **state)
{
	TEST_DIR(dir);
	struct place place;
	for (int is_closed = 0; is_closed < 2; is_closed++) {
		char path[512];
		snprintf(path, sizeof(path), "%s/%d", dir.path, is_closed);
		place_begin(&place, path);
		place.options.generation_ns = is_closed ? DAY : 0;
		place_reopen(&place);
		put_symbols(&place);
		struct asked before = grow_old(&place);
		if (is_closed)
			append(&place, DAY, 0);
		uint64_t nodes = nodes_of(&place);
		fault_limit_files(0);
		for (int tries = 0; tries < 2; tries++) {
			CHECK(store_roll(place.store, DAY) < 0);
			assert_int_equal(nodes_of(&place), nodes);
			assert_int_equal(days(&place, true), 0);
			struct asked after = ask(&place);
			check_same(&before, &after);
		}
		fault_limit_files(FAULT_FILES_ANY);
		CHECK_OK(store_roll(place.store, DAY));
		assert_int_equal(days(&place, true), 1);
		place_reopen(&place);
		struct asked after = ask(&place);
		check_same(&before, &after);
		assert_int_equal(after.rows, VERSIONS * COLLAPSED);
		place_end(&place);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_go_and_functions_stay_when_a_day_is_old),
		cmocka_unit_test(without_symbols_nothing_changes),
		cmocka_unit_test(it_is_never_done_without_an_age),
		cmocka_unit_test(
		        a_day_that_is_rolled_up_late_is_collapsed_at_once_and_takes_what_comes_later),
		cmocka_unit_test(a_generation_that_no_longer_grows_takes_the_new_names),
		cmocka_unit_test(a_dictionary_without_room_leaves_the_day_as_it_is),
		cmocka_unit_test(want_of_memory_leaves_the_day_as_it_was_or_done),
		cmocka_unit_test(
		        a_day_waits_while_something_of_it_is_hidden_and_what_is_gone_stays_gone),
		cmocka_unit_test(a_failed_write_is_taken_back_and_tried_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
