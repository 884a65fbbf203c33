/*
 * Moving to compact generations: what is left of old generations of the dictionary is what its
 * windows speak of, for years, and answers are the same before and after, whatever goes wrong.
 */

#include <errno.h>
#include <inttypes.h>

#include "storage/kv.h"
#include "storage/store_expire.h"
#include "storage/store_verify.h"
#include "tests/lib/fault.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW (60 * SECOND)
#define HOUR   WINDOW /* of these tests */
#define DAY    (2 * HOUR)
#define WEEK   (7 * DAY)
#define PERIOD UINT64_C(7)
#define HOT    3  /* functions of every day */
#define RARE   12 /* of one day only: a day folds them into main */
#define FOLD   10

#define NUMBERS 8 /* of one window: each time that it moves it has the next */

/* Two years are many writes, and nothing here loses power: RocksDB finds these before libc's. */
int fsync(int fd)
{
	(void)fd;
	return 0;
}

int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

struct place {
	const char *path;
	struct store *store;
	struct clock_virtual clock;
	struct store_options options;
	struct source source;
	uint64_t seq;
	uint64_t runs;
};

static void place_begin(struct place *place, const char *path)
{
	*place = (struct place){ .path = path, .options = store_fixture_options(path) };
	clock_virtual_init(&place->clock, 1000 * WEEK);
	place->options.clock = &place->clock.clock;
	place->options.window_ns = WINDOW;
	place->options.roll_ns[0] = HOUR;
	place->options.roll_ns[1] = DAY;
	place->options.generation_ns = WEEK;
	place->options.fold_below[1] = FOLD;
	place->store = store_fixture_open_with(place->options);
	place->source = source_new(place->store, 1);
}

static void place_reopen(struct place *place)
{
	store_free(place->store);
	place->store = store_fixture_open_with(place->options);
}

static void place_end(struct place *place)
{
	source_free(&place->source);
	store_free(place->store);
}

static uint64_t now_of(struct place *place)
{
	return clock_unix_ns(&place->clock.clock);
}

static uint64_t day_ns(uint32_t day)
{
	return 1000 * WEEK + day * DAY;
}

static struct store_size size_of(struct place *place)
{
	struct store_size size;
	CHECK_OK(store_size(place->store, &size));
	return size;
}

/* ---- what is put ---- */

/* Samples of a function that is hot, in one hour of a day. */
static uint64_t hot_of(uint32_t day, uint32_t hour, uint32_t function)
{
	return 100 + (day * 31 + hour * 7 + function * 3) % 50;
}

static void add_row(struct place *place, uint32_t series, const char *function, uint64_t value)
{
	CHECK_OK(batch_add_row(
	        place->source.batch, series, source_stack(&place->source, function), value));
}

/* One hour: hot functions on an instance of the day and one of always, rare ones on the first. */
static void append_hour(struct place *place, uint32_t day, uint32_t hour)
{
	char text[32];
	source_begin(&place->source, day_ns(day) + hour * HOUR, HOUR);
	snprintf(text, sizeof(text), "pod%" PRIu32, day);
	uint32_t pod = source_series(&place->source, "cart", text, PERIOD);
	uint32_t host = source_series(&place->source, "cart", "host", PERIOD);
	for (uint32_t i = 0; i < HOT; i++) {
		snprintf(text, sizeof(text), "hot%" PRIu32, i);
		add_row(place, i % 2 ? pod : host, text, hot_of(day, hour, i));
	}
	for (uint32_t i = 0; i < RARE; i++) {
		snprintf(text, sizeof(text), "rare%" PRIu32 "of%" PRIu32, i, day);
		add_row(place, pod, text, 1);
	}
	CHECK_OK(batch_add_coverage(place->source.batch, pod, HOUR / 2));
	CHECK_OK(batch_add_loss(place->source.batch, host, LOSS_RING_FULL, 2));
	CHECK_OK(batch_add_loss(place->source.batch, SERIES_NONE, LOSS_PERF_LOST, 3));
	assert_int_equal(source_append(&place->source, place->store, ++place->seq), WIRE_OK);
}

/* ---- keeping ---- */

/* The window of a level of a day (an hour of it) goes for good. */
static void drop_day(struct place *place, uint32_t level, uint32_t day)
{
	struct store_expire_item items[2 * NUMBERS];
	uint64_t length = level == 2 ? DAY : HOUR;
	struct store_run run = { .id = ++place->runs };
	struct store_expired expired;
	uint32_t count = 0;
	for (uint64_t at = day_ns(day); at < day_ns(day + 1); at += length)
		for (uint32_t number = 0; number < NUMBERS; number++)
			items[count++] = (struct store_expire_item){
				.window = { level, number, at, at + length },
				.unit = STORE_UNIT_NONE,
				.parts = STORE_PART_ALL,
			};
	CHECK_OK(store_hide(place->store, &run, items, count, &expired));
	CHECK_OK(store_erase(place->store, run.id, NULL, &expired));
}

/* How long each level stays, in days. */
static const uint32_t kept[] = { 14, 30, 730 };

static void keep(struct place *place, uint32_t today)
{
	for (uint32_t level = 0; level < COUNT_OF(kept); level++)
		if (today >= kept[level])
			drop_day(place, level, today - kept[level]);
}

static void turn(struct place *place)
{
	CHECK_OK(store_seal(place->store, now_of(place)));
	CHECK_OK(store_roll(place->store, now_of(place)));
	CHECK_OK(store_collect(place->store));
}

/* A day passes. */
static void live(struct place *place, uint32_t day, uint32_t turns)
{
	append_hour(place, day, 0);
	append_hour(place, day, 1);
	clock_virtual_advance(&place->clock, DAY);
	turn(place);
	keep(place, day);
	for (uint32_t i = 0; i < turns; i++)
		turn(place);
}

/* ---- what is asked ---- */

struct asked {
	uint64_t hot[HOT];
	uint64_t rare; /* by name, or folded into main */
	struct completeness completeness;
};

static void take_row(struct asked *asked, const struct dict *dict, const struct store_sum_row *row)
{
	uint32_t frame = dict_get_node(dict, row->node).frame;
	const char *name = dict_text(dict, dict_get_frame(dict, frame).function);
	if (strncmp(name, "hot", 3) == 0)
		asked->hot[name[3] - '0'] += row->value;
	else
		asked->rare += row->value;
	CHECK(strncmp(name, "hot", 3) == 0 || strncmp(name, "rare", 4) == 0 ||
	        strcmp(name, "main") == 0);
}

static struct asked ask(struct place *place, uint64_t from_ns, uint64_t to_ns)
{
	AUTO(store_match) match = store_fixture_find(
	        place->store, "cpu{service=\"cart\"}", from_ns, to_ns);
	struct asked asked = { 0 };
	struct store_sum sum = store_fixture_sum_together(place->store, match, from_ns, to_ns);
	store_read_lock(place->store);
	for (uint32_t i = 0; i < sum.parts_count; i++)
		for (uint32_t j = 0; j < sum.parts[i].rows_count; j++)
			take_row(&asked, match->parts[i].dict, &sum.parts[i].rows[j]);
	store_read_unlock(place->store);
	asked.completeness = sum.completeness;
	store_sum_fini(&sum);
	return asked;
}

/* Days [from, to) are all there, whatever they are read from. */
static void check_days(struct place *place, uint32_t from, uint32_t to)
{
	struct asked asked = ask(place, day_ns(from), day_ns(to));
	uint64_t days = to - from;
	uint64_t value = 0;
	for (uint32_t i = 0; i < HOT; i++) {
		uint64_t hot = 0;
		for (uint32_t day = from; day < to; day++)
			hot += hot_of(day, 0, i) + hot_of(day, 1, i);
		assert_int_equal(asked.hot[i], hot * PERIOD);
		value += hot * PERIOD;
	}
	assert_int_equal(asked.rare, days * 2 * RARE * PERIOD);
	assert_int_equal(asked.completeness.value, value + asked.rare);
	assert_int_equal(asked.completeness.coverage_ns, days * HOUR);
	assert_int_equal(asked.completeness.intervals, days * 2);
	assert_int_equal(asked.completeness.missing_ns, 0);
	assert_int_equal(asked.completeness.lost[LOSS_RING_FULL], days * 4);
	assert_int_equal(asked.completeness.lost[LOSS_PERF_LOST], days * 6);
	assert_int_equal(asked.completeness.series, days + 1);
	assert_int_equal(asked.completeness.instances, days + 1);
	assert_int_equal(asked.completeness.corrupt, 0);
	assert_int_equal(asked.completeness.windows_unanswerable, 0);
}

/* ---- two years ---- */

/* Bytes of deltas on the disk; the store is closed meanwhile. */
static uint64_t bytes_of_dict(struct place *place)
{
	struct kv_options options = { .path = place->path, .memtables_bytes = 8 << 20 };
	struct kv *kv;
	char error[256];
	uint64_t bytes = 0;
	store_free(place->store);
	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	struct kv_iterator *it = kv_iterator_new(
	        kv, KV_DICT, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	for (; kv_iterator_is_valid(it); kv_iterator_next(it))
		bytes += kv_iterator_key(it).count + kv_iterator_value(it).count;
	kv_iterator_free(it);
	kv_free(kv);
	place->store = store_fixture_open_with(place->options);
	return bytes;
}

/*
 * Nodes besides the root: a week that still has hours is as it was appended, an older one has main
 * and the hot ones; two weeks may be there twice while they move.
 */
static uint64_t nodes_needed(uint32_t today)
{
	uint64_t of_week = 1 + 1 + HOT + 7 * RARE;
	uint64_t weeks = today / 7 + 1;
	uint64_t whole = kept[1] / 7 + 2;
	if (weeks > kept[2] / 7 + 2)
		weeks = kept[2] / 7 + 2;
	return weeks <= whole ? (weeks + 1) * of_week
	                      : (whole + 1) * of_week + (weeks - whole) * (1 + 1 + HOT);
}

static void two_years_of_days_keep_the_names_that_they_use(void **state)
{
	TEST_DIR(dir);
	struct place place;
	uint64_t bytes_of_year = 0;
	place_begin(&place, dir.path);
	for (uint32_t day = 0; day < kept[2] + 30; day++) {
		uint32_t oldest = day > kept[2] ? day - kept[2] + 1 : 0;
		live(&place, day, 4);
		CHECK(size_of(&place).nodes <= nodes_needed(day));
		if (day % 61 == 60) {
			check_days(&place, oldest, day + 1);
			check_days(&place, day - 40, day - 31);
			place_reopen(&place);
			check_days(&place, day - 60, day - 20);
		}
		if (day == 365)
			bytes_of_year = bytes_of_dict(&place);
	}
	check_days(&place, 31, kept[2] + 30);
	/* A year more is some names more for each week, and no rare ones. */
	uint64_t bytes = bytes_of_dict(&place);
	CHECK(bytes < 2 * bytes_of_year);
	check_days(&place, 31, kept[2] + 30);
	CHECK(size_of(&place).nodes <= nodes_needed(kept[2] + 30));
	place_end(&place);
}

/* ---- one week ---- */

/* Bare seven days of the first generation, one of the next; of the first, level 0 is gone. */
static void grow_old(struct place *place)
{
	for (uint32_t day = 0; day < 8; day++)
		live(place, day, 0);
	assert_int_equal(size_of(place).generations, 2);
	for (uint32_t day = 0; day < 7; day++)
		drop_day(place, 0, day);
}

static bool is_moved(struct place *place)
{
	struct store_size size = size_of(place);
	return size.generations_compact == 1 && size.generations == 2;
}

/* Whole days, and halves of them, which only hours can answer. */
static void check_week(struct place *place)
{
	check_days(place, 0, 8);
	for (uint32_t day = 0; day < 7; day += 3) {
		struct asked half = ask(place, day_ns(day) + HOUR, day_ns(day + 1));
		for (uint32_t i = 0; i < HOT; i++)
			assert_int_equal(half.hot[i], hot_of(day, 1, i) * PERIOD);
		assert_int_equal(half.rare, RARE * PERIOD);
	}
}

static int no_finding(void *owner, const struct store_finding *finding)
{
	fail_msg("%s %s: %s", finding->family, finding->key, finding->reason);
	return 0;
}

/* Checksums and references of the folder; the store is closed meanwhile. */
static void check_folder(struct place *place)
{
	struct store_verify_options options = { .path = place->path, .found = no_finding };
	struct store_verify_summary summary;
	char error[512];
	store_free(place->store);
	CHECK_OK(store_verify(&options, &summary, error, sizeof(error)));
	place->store = store_fixture_open_with(place->options);
}

static void hours_and_days_move_one_in_a_turn_and_hours_stay_in_their_days(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	grow_old(&place);
	check_week(&place);
	uint64_t nodes = size_of(&place).nodes;
	for (uint32_t i = 0; i < 7 * 3; i++) {
		assert_false(is_moved(&place));
		turn(&place);
		assert_int_equal(size_of(&place).windows_moved, 1);
		check_week(&place);
		place_reopen(&place);
		check_week(&place);
	}
	assert_true(is_moved(&place));
	check_week(&place);
	check_folder(&place);
	/* Hours have all of them. */
	assert_int_equal(size_of(&place).nodes, nodes);

	/* Hours go, and with them what only they had. */
	for (uint32_t day = 0; day < 7; day++)
		drop_day(&place, 1, day);
	for (uint32_t i = 0; i < 7 + 1; i++)
		turn(&place);
	assert_true(is_moved(&place));
	check_days(&place, 0, 8);
	check_folder(&place);
	assert_int_equal(size_of(&place).nodes, nodes - 7 * RARE);
	/* And no more is to be done. */
	uint64_t moved = size_of(&place).windows_moved;
	turn(&place);
	assert_int_equal(size_of(&place).windows_moved, moved);
	place_end(&place);
}

static void what_a_question_holds_does_not_move_under_it(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	grow_old(&place);
	struct store_match *match = store_fixture_find(
	        place.store, "cpu{service=\"cart\"}", day_ns(0), day_ns(1));
	for (uint32_t i = 0; i < 3; i++)
		turn(&place);
	assert_int_equal(size_of(&place).windows_moved, 0);
	assert_int_equal(size_of(&place).windows_unmovable, 3);
	/* The question goes on where it was. */
	struct store_sum sum = store_fixture_sum_together(place.store, match, day_ns(0), day_ns(1));
	assert_int_equal(sum.completeness.intervals, 2);
	store_sum_fini(&sum);
	store_match_free(match);
	for (uint32_t i = 0; i < 7 * 3 + 1; i++)
		turn(&place);
	assert_true(is_moved(&place));
	check_week(&place);
	place_end(&place);
}

static void want_of_memory_leaves_a_window_where_it_was_or_moved(void **state)
{
	TEST_DIR(dir);
	struct place place;
	uint32_t failures = 0;
	place_begin(&place, dir.path);
	grow_old(&place);
	for (uint32_t nth = 0; !is_moved(&place); nth++) {
		fault_arm(FAULT_ALLOC, nth % 600, ENOMEM);
		int r = store_roll(place.store, now_of(&place));
		int collected = store_collect(place.store);
		bool has_happened = fault_disarm();
		CHECK(r == 0 || (r == -ENOMEM && has_happened));
		CHECK(collected == 0 || (collected == -ENOMEM && has_happened));
		failures += r < 0;
		if (nth % 16 == 0)
			place_reopen(&place); /* as after a kill */
		check_week(&place);
		CHECK(nth < 2000);
	}
	CHECK(failures > 20);
	check_folder(&place);
	check_week(&place);
	place_end(&place);
}

static void a_failed_write_is_taken_back_and_tried_again(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	grow_old(&place);
	for (uint32_t i = 0; i < 8; i++) {
		struct store_size before = size_of(&place);
		fault_limit_files(0);
		CHECK(store_roll(place.store, now_of(&place)) < 0);
		fault_limit_files(FAULT_FILES_ANY);
		assert_int_equal(size_of(&place).windows_moved, before.windows_moved);
		check_week(&place);
		CHECK_OK(store_roll(place.store, now_of(&place)));
		assert_int_equal(size_of(&place).windows_moved, before.windows_moved + 1);
		check_week(&place);
	}
	for (uint32_t i = 0; i < 7 * 3; i++)
		turn(&place);
	assert_true(is_moved(&place));
	check_folder(&place);
	check_week(&place);
	place_end(&place);
}

static void what_is_hidden_stays_where_it_is_and_comes_back(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	grow_old(&place);
	struct store_expire_item item = {
		.window = { 2, 0, day_ns(3), day_ns(4) },
		.unit = 0,
		.parts = STORE_PART_ALL,
	};
	struct store_run run = { .id = 77, .hidden_ns = now_of(&place) };
	struct store_expired expired;
	CHECK_OK(store_hide(place.store, &run, &item, 1, &expired));
	assert_int_equal(expired.missing, 0);
	clock_virtual_advance(&place.clock, SECOND);
	for (uint32_t i = 0; i < 7 * 3; i++)
		turn(&place);
	assert_false(is_moved(&place)); /* that day keeps its dictionary */
	CHECK_OK(store_undo(place.store, run.id, &expired));
	assert_int_equal(expired.missing, 0);
	check_week(&place);
	for (uint32_t i = 0; i < 2; i++)
		turn(&place);
	assert_true(is_moved(&place));
	check_week(&place);

	place_end(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_years_of_days_keep_the_names_that_they_use),
		cmocka_unit_test(hours_and_days_move_one_in_a_turn_and_hours_stay_in_their_days),
		cmocka_unit_test(what_a_question_holds_does_not_move_under_it),
		cmocka_unit_test(want_of_memory_leaves_a_window_where_it_was_or_moved),
		cmocka_unit_test(a_failed_write_is_taken_back_and_tried_again),
		cmocka_unit_test(what_is_hidden_stays_where_it_is_and_comes_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
