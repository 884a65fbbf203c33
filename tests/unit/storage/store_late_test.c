/*
 * Batches that come for a window while it is being sealed. Those that come behind the place up to
 * which its batches are collected are sealed with them. Others stay open, are answered from, and
 * become a window of their own with the next seal.
 *
 * The moments are found without a second thread: the seal calls here before it collects, when it
 * leaves the gate between two stretches of that, and before it takes in what it has written. And
 * when it has asked for the class of a series it has begun to collect, and when it then asks for
 * the time, that is what it writes down as when it sealed.
 *
 * wraps: seal_collect seal_take_blocks gate_leave
 */

#include <errno.h>

#include "core/rng.h"
#include "storage/store_expire.h"
#include "storage/store_verify.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW_S  60
#define FIRST_S   600 /* where the window begins */
#define LATE_MANY 150 /* more than there is room for at first */

#define ROWS  2000 /* of a large batch */
#define LARGE 29   /* such that are two stretches */

/* When they come. */
enum late_moment {
	LATE_BEFORE_COMMIT, /* everything is collected and written */
	LATE_BEFORE_COLLECT,
	LATE_BEFORE_ROUND, /* and read once more, as there are too many rows */
	LATE_BETWEEN_STRETCHES,
};

/* Appends one sample, of a value that says which it is. */
struct late {
	struct clock_virtual clock; /* first: the store has a pointer to it */
	struct store *store;
	struct source source;
	const uint64_t *starts_s;
	uint32_t count;
	uint64_t seq;
	enum late_moment moment;
	uint32_t rounds;   /* times that batches were collected */
	bool is_abandoned; /* the seal fails before its record is written, as where a process ends
	                    */
	bool is_collecting;
	bool has_come;
};

static struct late *late_now; /* of the test that runs */

static uint32_t late_append(struct late *late, uint64_t start_s, uint64_t seq)
{
	struct source *source = &late->source;
	source_begin(source, start_s * SECOND, SECOND);
	CHECK_OK(batch_add_row(source->batch, source_series(source, "cart", "i", 1),
	        source_stack(source, "main"), seq));
	return source_append(source, late->store, seq);
}

static uint32_t late_classify(
        void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	struct late *late = owner;
	late->is_collecting = late->count > 0 && !late->has_come;
	return 0;
}

static void late_come(struct late *late)
{
	late->is_collecting = false;
	late->has_come = true;
	for (uint32_t i = 0; i < late->count; i++)
		assert_int_equal(late_append(late, late->starts_s[i], ++late->seq), WIRE_OK);
}

static uint64_t late_unix_ns(struct clock *clock)
{
	struct late *late = (struct late *)clock;
	if (late->is_collecting && late->moment == LATE_BEFORE_COMMIT)
		late_come(late);
	return late->clock.now_unix_ns;
}

/* As in headers of storage/ alone. */
struct seal;
struct gate;

int __real_seal_collect(struct seal *seal);
int __wrap_seal_collect(struct seal *seal);
int __wrap_seal_collect(struct seal *seal)
{
	struct late *late = late_now;
	uint32_t round = late->rounds++;
	bool is_now = (late->moment == LATE_BEFORE_COLLECT && round == 0) ||
	              (late->moment == LATE_BEFORE_ROUND && round == 1);
	if (late->count > 0 && !late->has_come && is_now)
		late_come(late);
	return __real_seal_collect(seal);
}

bool __real_gate_leave(struct gate *gate);
bool __wrap_gate_leave(struct gate *gate);
bool __wrap_gate_leave(struct gate *gate)
{
	struct late *late = late_now;
	bool is_outside = __real_gate_leave(gate);
	if (is_outside && late->is_collecting && late->moment == LATE_BETWEEN_STRETCHES)
		late_come(late);
	return is_outside;
}

/* What is taken in then has no record, as after a kill. */
int __real_seal_take_blocks(struct seal *seal);
int __wrap_seal_take_blocks(struct seal *seal);
int __wrap_seal_take_blocks(struct seal *seal)
{
	int r = __real_seal_take_blocks(seal);
	return r == 0 && late_now->is_abandoned ? -EIO : r;
}

static void late_open(struct late *late, const char *path)
{
	struct store_options options = store_fixture_options(path);
	late_now = late;
	late->rounds = 0;
	options.seal_rows_max = late->moment == LATE_BEFORE_ROUND ? ROWS : 0;
	options.window_ns = WINDOW_S * SECOND;
	options.clock = &late->clock.clock;
	clock_virtual_init(&late->clock, 100000 * SECOND);
	late->clock.clock.unix_ns = late_unix_ns;
	late->store = store_fixture_open_with(options);
	store_set_classify(late->store, late_classify, late);
	late->source = source_new(late->store, 1);
}

static void late_close(struct late *late)
{
	source_free(&late->source);
	store_free(late->store);
}

/* Batches of the window, sealed and not. */
struct late_counts {
	uint64_t sealed, open, windows;
};

static int count_unit(void *owner, const struct store_inventory_unit *unit)
{
	struct late_counts *counts = owner;
	if (unit->window.from_ns != FIRST_S * SECOND)
		return 0;
	*(unit->is_open ? &counts->open : &counts->sealed) += unit->batches;
	counts->windows += !unit->is_open;
	return 0;
}

static struct late_counts late_counts(struct late *late)
{
	struct late_counts counts = { 0 };
	CHECK_OK(store_inventory(late->store,
	        (struct store_inventory_options){ .wants_open = true }, count_unit, &counts));
	return counts;
}

static int never(void *owner, const struct store_finding *finding)
{
	fail_msg("%s %s: %s", finding->family, finding->key, finding->reason);
	return 0;
}

static void verify(const char *path)
{
	struct store_verify_options options = { .path = path, .found = never };
	struct store_verify_summary summary;
	char error[512] = "";
	CHECK_OK(store_verify(&options, &summary, error, sizeof(error)));
	assert_int_equal(summary.damaged, 0);
}

/* What comes in the middle of a seal, and what becomes of it. */
struct late_case {
	const uint64_t *starts_s;
	uint32_t count;
	uint32_t sealed; /* of them: with the batches that were there */
	uint32_t open;   /* of them, in this window */
	enum late_moment moment;
	bool is_large;     /* what is there is read in stretches */
	bool is_abandoned; /* this seal comes to nothing, and the process ends */
};

static uint64_t first_s(uint64_t seq)
{
	return FIRST_S + 10 + seq % 30;
}

/* Batches at :11, :12, ...; the sum of what is in them. */
static uint64_t append_first(struct late *late, uint32_t batches, uint32_t rows)
{
	struct source *source = &late->source;
	struct rng rng;
	uint64_t sum = 0;
	rng_init(&rng, 7);
	for (uint64_t seq = 1; seq <= batches; seq++) {
		source_begin(source, first_s(seq) * SECOND, SECOND);
		uint32_t series = source_series(source, "cart", "i", 1);
		for (uint32_t row = 0; row < rows; row++) {
			char function[16];
			uint64_t value = 1 + rng_below(&rng, UINT64_C(1) << 44);
			snprintf(function, sizeof(function), "f%u", row);
			CHECK_OK(batch_add_row(
			        source->batch, series, source_stack(source, function), value));
			sum += value;
		}
		assert_int_equal(source_append(source, late->store, seq), WIRE_OK);
	}
	late->seq = batches;
	return sum;
}

static void check_counts(struct late *late, uint64_t sealed, uint64_t open)
{
	struct late_counts counts = late_counts(late);
	assert_int_equal(counts.sealed, sealed);
	assert_int_equal(counts.open, open);
}

/* Seals what there is while the late ones come; all of it is there, once. */
static void check_late(struct late_case of)
{
	TEST_DIR(dir);
	struct late late = {
		.starts_s = of.starts_s,
		.moment = of.moment,
		.is_abandoned = of.is_abandoned,
	};
	late_open(&late, dir.path);
	uint32_t first = of.is_large ? LARGE : 3;
	uint64_t all = append_first(&late, first, of.is_large ? ROWS : 1);
	late.count = of.count;
	late.rounds = 0;
	int r = store_seal(late.store, (FIRST_S + WINDOW_S) * SECOND);
	assert_int_equal(r, of.is_abandoned ? -EIO : 0);
	CHECK(late.has_come);
	for (uint64_t seq = first + 1; seq <= late.seq; seq++)
		all += seq;
	if (of.is_abandoned)
		check_counts(&late, 0, first + of.sealed + of.open);
	else
		check_counts(&late, first + of.sealed, of.open);
	assert_int_equal(store_fixture_value(late.store, "cpu", 0, UINT64_MAX), all);

	/* Sent again they are known: those of the window, and those that are still open. */
	for (uint64_t seq = 1; seq <= late.seq; seq++)
		assert_int_equal(
		        late_append(&late,
		                seq <= first ? first_s(seq) : of.starts_s[seq - first - 1], seq),
		        WIRE_DUP);

	/* They are not forgotten with what the process had in memory. */
	late_close(&late);
	late.is_abandoned = false;
	late_open(&late, dir.path);
	assert_int_equal(store_fixture_value(late.store, "cpu", 0, UINT64_MAX), all);
	clock_virtual_advance(&late.clock, 100000 * SECOND);
	CHECK_OK(store_seal(late.store, UINT64_MAX));
	check_counts(&late, first + of.sealed + of.open, 0);
	assert_int_equal(late_counts(&late).windows, of.open && !of.is_abandoned ? 2 : 1);
	assert_int_equal(store_fixture_value(late.store, "cpu", 0, UINT64_MAX), all);
	late_close(&late);
	verify(dir.path);
}

/* Before, between, at and behind what is there. */
static const uint64_t around_s[] = { FIRST_S + 15, FIRST_S + 12, FIRST_S, FIRST_S + 59,
	FIRST_S + 11, FIRST_S + 13 };

static void what_comes_before_between_and_behind_what_is_sealed_stays_open(void **state)
{
	check_late((struct late_case){ around_s, COUNT_OF(around_s), .open = 6 });
}

static void what_comes_for_other_windows_is_left_alone(void **state)
{
	const uint64_t starts_s[] = { FIRST_S - 1, FIRST_S + WINDOW_S, 1, FIRST_S + 7 * WINDOW_S };
	for (enum late_moment moment = 0; moment <= LATE_BEFORE_COLLECT; moment++)
		check_late((struct late_case){ starts_s, COUNT_OF(starts_s), .moment = moment });
}

static void as_many_may_come_as_will(void **state)
{
	uint64_t starts_s[LATE_MANY];
	for (uint32_t i = 0; i < LATE_MANY; i++)
		starts_s[i] = FIRST_S + i * 7 % WINDOW_S;
	check_late((struct late_case){ starts_s, LATE_MANY, .open = LATE_MANY });
	check_late((struct late_case){
	        starts_s, LATE_MANY, .sealed = LATE_MANY, .moment = LATE_BEFORE_COLLECT });
}

static void what_comes_before_batches_are_collected_is_sealed_with_them(void **state)
{
	check_late((struct late_case){
	        around_s, COUNT_OF(around_s), .sealed = 6, .moment = LATE_BEFORE_COLLECT });
}

/* Only what is behind the place where the first stretch ended is met by the second. */
static void what_comes_between_two_stretches_is_sealed_where_it_is_still_met(void **state)
{
	check_late((struct late_case){ around_s, COUNT_OF(around_s), .sealed = 1, .open = 5,
	        .moment = LATE_BETWEEN_STRETCHES, .is_large = true });
}

static void what_comes_between_two_rounds_stays_open(void **state)
{
	check_late((struct late_case){ around_s, COUNT_OF(around_s), .open = 6,
	        .moment = LATE_BEFORE_ROUND, .is_large = true });
}

static void where_the_process_ends_before_the_record_all_are_open_as_they_were(void **state)
{
	check_late((struct late_case){ around_s, COUNT_OF(around_s), .sealed = 6,
	        .moment = LATE_BEFORE_COLLECT, .is_abandoned = true });
	check_late((struct late_case){ around_s, COUNT_OF(around_s), .sealed = 1, .open = 5,
	        .moment = LATE_BETWEEN_STRETCHES, .is_large = true, .is_abandoned = true });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_before_between_and_behind_what_is_sealed_stays_open),
		cmocka_unit_test(what_comes_for_other_windows_is_left_alone),
		cmocka_unit_test(as_many_may_come_as_will),
		cmocka_unit_test(what_comes_before_batches_are_collected_is_sealed_with_them),
		cmocka_unit_test(what_comes_between_two_stretches_is_sealed_where_it_is_still_met),
		cmocka_unit_test(what_comes_between_two_rounds_stays_open),
		cmocka_unit_test(
		        where_the_process_ends_before_the_record_all_are_open_as_they_were),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
