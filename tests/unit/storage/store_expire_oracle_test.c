/*
 * Random programs of forgetting against a model that is a plain list of rows, each with the window
 * it was sealed into and the run that hides it. Appends, seals, hiding of units, windows and
 * detail, undoing, erasing, parting, deletion on request, all of them also without memory or disk,
 * restarts: totals of every service over every range of windows must be those of the rows that are
 * visible, and of the instances where there is detail.
 *
 * A failure prints its seed; PROFLEET_SEED=N runs that one alone.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/resource.h>

#include "core/clock.h"
#include "core/rng.h"
#include "storage/store_expire.h"
#include "tests/lib/fault.h"
#include "tests/unit/storage/store_fixture.h"

#define SEEDS     10
#define STEPS     160
#define WINDOW_S  60
#define WINDOWS   5
#define SERVICES  3
#define INSTANCES 4
#define ROWS_MAX  8192
#define RUNS_MAX  4
#define UNITS_MAX 4096

struct model_row {
	uint32_t window;
	int32_t number; /* of the sealed window it is in; -1: open */
	uint32_t service;
	uint32_t instance;
	uint64_t value;
	uint64_t run; /* that hides it */
	bool is_gone;
};

struct unit {
	struct store_window_name window;
	uint32_t unit;
	uint32_t parts;
	uint32_t hidden;
	bool has[SERVICES][INSTANCES];
};

struct program {
	struct rng rng;
	struct test_dir *dir;
	struct store *store;
	struct source source;
	struct clock_virtual clock;
	uint64_t seq;
	struct model_row rows[ROWS_MAX];
	uint32_t rows_count;
	struct unit units[UNITS_MAX]; /* the inventory, when it was asked for last */
	uint32_t units_count;
	uint64_t runs[RUNS_MAX]; /* 0: none */
	uint64_t runs_begun;
	uint64_t units_erased;
	uint64_t units_parted;
};

/* ---- the store ---- */

static void program_open(struct program *program)
{
	struct store_options options = store_fixture_options(program->dir->path);
	options.window_ns = WINDOW_S * SECOND;
	options.clock = &program->clock.clock;
	options.seal_rows_max = rng_below(&program->rng, 2) ? 12 : 0;
	program->store = store_fixture_open_with(options);
	if (!program->source.dict)
		program->source = source_new(program->store, 1);
}

static uint32_t digit_of(const struct dict *dict, uint32_t series, const char *label)
{
	const char *text = dict_text(
	        dict, dict_label_value(dict, series, dict_find_string(dict, label, strlen(label))));
	return (uint32_t)(text[strlen(text) - 1] - '0');
}

static int take_unit(void *owner, const struct store_inventory_unit *told)
{
	struct program *program = owner;
	CHECK(program->units_count < UNITS_MAX && !told->is_corrupt);
	struct unit *unit = &program->units[program->units_count++];
	*unit = (struct unit){
		.window = told->window,
		.unit = told->unit,
		.parts = told->parts,
		.hidden = told->hidden,
	};
	for (uint32_t i = 0; i < told->series_count; i++)
		unit->has[digit_of(told->dict, told->series[i], "service")]
		         [digit_of(told->dict, told->series[i], "instance")] = true;
	return 0;
}

static void program_list_units(struct program *program)
{
	program->units_count = 0;
	CHECK_OK(store_inventory(program->store,
	        (struct store_inventory_options){ .wants_series = true }, take_unit, program));
}

static bool unit_is_of(const struct unit *unit, const struct model_row *row)
{
	return row->number >= 0 && !row->is_gone &&
	       unit->window.from_ns == row->window * WINDOW_S * SECOND &&
	       unit->window.number == (uint32_t)row->number &&
	       unit->has[row->service][row->instance];
}

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;
	CHECK_OK(getrlimit(RLIMIT_FSIZE, &limit));
	limit.rlim_cur = bytes;
	CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
}

enum failure { FAIL_NOT, FAIL_MEMORY, FAIL_DISK };

static enum failure program_fail(struct program *program)
{
	uint64_t dice = rng_below(&program->rng, 8);
	if (dice == 0) {
		fault_arm(FAULT_ALLOC, (uint32_t)rng_below(&program->rng, 300), ENOMEM);
		return FAIL_MEMORY;
	}
	if (dice == 1) {
		limit_files(0);
		return FAIL_DISK;
	}
	return FAIL_NOT;
}

static void program_mend(enum failure failure)
{
	if (failure == FAIL_MEMORY)
		(void)fault_disarm();
	if (failure == FAIL_DISK)
		limit_files(RLIM_INFINITY);
}

/* ---- steps ---- */

static void program_append(struct program *program)
{
	uint32_t window = (uint32_t)rng_below(&program->rng, WINDOWS);
	uint64_t start = window * WINDOW_S + rng_below(&program->rng, WINDOW_S);
	source_begin(&program->source, start * SECOND, SECOND);
	uint32_t count = 1 + (uint32_t)rng_below(&program->rng, 12);
	CHECK(program->rows_count + count <= ROWS_MAX);
	for (uint32_t i = 0; i < count; i++) {
		struct model_row *row = &program->rows[program->rows_count++];
		char service[16], instance[16], function[16];
		*row = (struct model_row){ window, -1, (uint32_t)rng_below(&program->rng, SERVICES),
			(uint32_t)rng_below(&program->rng, INSTANCES),
			1 + rng_below(&program->rng, 1000), 0, false };
		snprintf(service, sizeof(service), "service%u", row->service);
		snprintf(instance, sizeof(instance), "instance%u", row->instance);
		snprintf(function, sizeof(function), "f%u", (uint32_t)rng_below(&program->rng, 20));
		CHECK_OK(batch_add_row(program->source.batch,
		        source_series(&program->source, service, instance, 1),
		        source_stack(&program->source, function), row->value));
	}
	assert_int_equal(source_append(&program->source, program->store, ++program->seq), WIRE_OK);
}

/* What was open in a window is in the one that nobody has seen before. */
static void program_seal(struct program *program)
{
	static bool seen[WINDOWS][4096];
	memset(seen, 0, sizeof(seen));
	for (uint32_t i = 0; i < program->rows_count; i++)
		if (program->rows[i].number >= 0 && !program->rows[i].is_gone)
			seen[program->rows[i].window][program->rows[i].number] = true;
	CHECK_OK(store_seal(program->store, UINT64_MAX / 2));
	program_list_units(program);
	for (uint32_t i = 0; i < program->rows_count; i++) {
		struct model_row *row = &program->rows[i];
		for (uint32_t j = 0; j < program->units_count && row->number < 0 && !row->is_gone;
		        j++) {
			const struct store_window_name *window = &program->units[j].window;
			if (window->from_ns == row->window * WINDOW_S * SECOND &&
			        !seen[row->window][window->number])
				row->number = (int32_t)window->number;
		}
		CHECK(row->number >= 0 || row->is_gone);
	}
}

static int has_run(void *owner, const struct store_run_state *state)
{
	return state->run.id == *(const uint64_t *)owner ? 1 + state->is_erasing : 0;
}

/* 0: no such run; 1: it hides; 2: some of it may be erased. */
static int program_has_run(struct program *program, uint64_t run)
{
	return store_runs(program->store, has_run, &run);
}

static void program_hide(struct program *program)
{
	struct store_expire_item items[16];
	uint32_t slot = 0;
	uint32_t count = 0;
	struct store_expired expired;
	while (slot < RUNS_MAX && program->runs[slot])
		slot++;
	program_list_units(program);
	if (slot == RUNS_MAX || program->units_count == 0)
		return;
	struct store_run run = { .id = ++program->runs_begun, .note = "oracle" };
	for (uint64_t i = rng_below(&program->rng, COUNT_OF(items)); i > 0; i--) {
		const struct unit *unit =
		        &program->units[rng_below(&program->rng, program->units_count)];
		bool is_whole = rng_below(&program->rng, 4) == 0;
		items[count++] = (struct store_expire_item){ unit->window,
			is_whole ? STORE_UNIT_NONE : unit->unit,
			rng_below(&program->rng, 3) ? STORE_PART_ALL : STORE_PART_DETAIL };
	}
	enum failure failure = program_fail(program);
	int r = store_hide(program->store, &run, items, count, &expired);
	program_mend(failure);
	CHECK(r == 0 || failure != FAIL_NOT);
	/* Done or not done: a write that failed is looked for after the next one that did not. */
	CHECK_OK(store_flush(program->store));
	if (!program_has_run(program, run.id))
		return;
	program->runs[slot] = run.id;
	for (uint32_t i = 0; i < program->rows_count; i++)
		for (uint32_t j = 0; j < program->units_count && !program->rows[i].run; j++) {
			const struct unit *unit = &program->units[j];
			if (!unit_is_of(unit, &program->rows[i]))
				continue;
			for (uint32_t k = 0; k < count; k++)
				if (items[k].parts == STORE_PART_ALL &&
				        (items[k].unit == unit->unit ||
				                items[k].unit == STORE_UNIT_NONE) &&
				        memcmp(&items[k].window, &unit->window,
				                sizeof(unit->window)) == 0 &&
				        !(unit->hidden & STORE_PART_SUMS))
					program->rows[i].run = run.id;
		}
}

/* What a run hid is visible again, as far as the disk has it. */
static void program_settle(struct program *program, uint64_t run, bool is_erased)
{
	program_list_units(program);
	for (uint32_t i = 0; i < program->rows_count; i++) {
		struct model_row *row = &program->rows[i];
		if (row->run != run)
			continue;
		bool is_there = false;
		for (uint32_t j = 0; j < program->units_count; j++)
			is_there |= unit_is_of(&program->units[j], row);
		CHECK(!is_erased || !is_there);
		row->is_gone |= !is_there;
		row->run = 0;
	}
}

static void program_end_run(struct program *program, bool must_erase)
{
	uint32_t slot = (uint32_t)rng_below(&program->rng, RUNS_MAX);
	uint64_t run = program->runs[slot];
	struct store_expired expired = { 0 };
	if (!run)
		return;
	enum failure failure = program_fail(program);
	int r = must_erase ? store_erase(program->store, run, NULL, &expired)
	                   : store_undo(program->store, run, &expired);
	program_mend(failure);
	CHECK(r == 0 || failure != FAIL_NOT);
	CHECK_OK(store_flush(program->store));
	program->units_erased += must_erase ? expired.units[0] : 0;
	if (program_has_run(program, run)) {
		CHECK(r < 0);
		return;
	}
	program_settle(program, run, must_erase);
	program->runs[slot] = 0;
}

static uint32_t classify(void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	return digit_of(dict, series, "instance") / *(const uint32_t *)owner;
}

static void program_part(struct program *program)
{
	static const uint32_t divisors[] = { 1, 2 };
	struct store_resealed resealed = { 0 };
	program_list_units(program);
	if (program->units_count == 0)
		return;
	const struct unit *unit = &program->units[rng_below(&program->rng, program->units_count)];
	enum failure failure = program_fail(program);
	int r = store_reseal(program->store, unit->window, classify,
	        (void *)&divisors[rng_below(&program->rng, 2)], &resealed);
	program_mend(failure);
	CHECK(r == 0 || failure != FAIL_NOT);
	program->units_parted += resealed.units_parted;
}

/* A service, or an instance of all; what has no detail and is mixed stays, and is told of. */
static void program_forget(struct program *program)
{
	char text[64];
	char error[64];
	AUTO(selector) selector = NULL;
	bool is_service = rng_below(&program->rng, 2);
	uint32_t digit = (uint32_t)rng_below(&program->rng, is_service ? SERVICES : INSTANCES);
	uint32_t from = (uint32_t)rng_below(&program->rng, WINDOWS);
	uint32_t to = from + 1 + (uint32_t)rng_below(&program->rng, 2);
	struct store_forgotten forgotten = { 0 };
	snprintf(text, sizeof(text), "{instance=\"instance%u\"}", digit);
	CHECK_OK(selector_parse(text, &selector, error, sizeof(error)));
	snprintf(text, sizeof(text), "service%u", digit);
	struct store_forget_options options = {
		.tenant = "",
		.service = is_service ? text : NULL,
		.selector = is_service ? NULL : selector,
		.from_ns = from * WINDOW_S * SECOND,
		.to_ns = to * WINDOW_S * SECOND,
	};
	if (store_forget(program->store, &options, &forgotten) < 0)
		fail_msg("%s", store_error(program->store));
	program_list_units(program);
	uint64_t mixed = 0;
	for (uint32_t i = 0; i < program->rows_count; i++) {
		struct model_row *row = &program->rows[i];
		bool is_named = (is_service ? row->service : row->instance) == digit &&
		                row->window >= from && row->window < to && !row->run;
		bool is_there = row->number < 0;
		for (uint32_t j = 0; j < program->units_count; j++)
			is_there |= unit_is_of(&program->units[j], row);
		if (!is_named || row->is_gone)
			continue;
		mixed += is_there && row->number >= 0;
		row->is_gone = row->number < 0 || !is_there;
	}
	CHECK(mixed == 0 || forgotten.units_mixed > 0);
	CHECK(!is_service || forgotten.units_mixed == 0);
}

static void program_query(struct program *program)
{
	char text[64];
	uint32_t from = (uint32_t)rng_below(&program->rng, WINDOWS);
	uint32_t to = from + 1 + (uint32_t)rng_below(&program->rng, WINDOWS);
	uint32_t service = (uint32_t)rng_below(&program->rng, SERVICES);
	uint64_t expected = 0;
	for (uint32_t i = 0; i < program->rows_count; i++) {
		const struct model_row *row = &program->rows[i];
		if (row->service == service && row->window >= from && row->window < to &&
		        !row->run && !row->is_gone)
			expected += row->value;
	}
	snprintf(text, sizeof(text), "cpu{service=\"service%u\"}", service);
	assert_int_equal(store_fixture_total(program->store, text, from * WINDOW_S * SECOND,
	                         to * WINDOW_S * SECOND),
	        expected);
}

static void program_step(struct program *program)
{
	uint64_t dice = rng_below(&program->rng, 100);
	clock_virtual_advance(&program->clock, SECOND);
	if (dice < 25) {
		program_append(program);
	} else if (dice < 33) {
		program_seal(program);
	} else if (dice < 45) {
		program_hide(program);
	} else if (dice < 51) {
		program_end_run(program, true);
	} else if (dice < 56) {
		program_end_run(program, false);
	} else if (dice < 62) {
		program_part(program);
	} else if (dice < 65) {
		program_forget(program);
	} else if (dice < 68) {
		store_free(program->store);
		program_open(program);
	} else {
		program_query(program);
	}
}

static void program_run(uint64_t seed, uint64_t *erased, uint64_t *parted)
{
	TEST_DIR(dir);
	struct program *program = calloc(1, sizeof(*program));
	print_message("seed %" PRIu64 "\n", seed);
	program->dir = &dir;
	rng_init(&program->rng, seed);
	clock_virtual_init(&program->clock, 1700000000 * SECOND);
	program_open(program);
	for (uint32_t step = 0; step < STEPS; step++)
		program_step(program);
	*erased += program->units_erased;
	*parted += program->units_parted;
	source_free(&program->source);
	store_free(program->store);
	free(program);
}

static void random_programs_forget_what_the_model_forgets(void **state)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	const char *one = getenv("PROFLEET_SEED");
	uint64_t erased = 0, parted = 0;
	CHECK_OK(sigaction(SIGXFSZ, &ignore, NULL));
	if (one) {
		program_run(strtoull(one, NULL, 10), &erased, &parted);
		return;
	}
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		program_run(seed, &erased, &parted);
	CHECK(erased > 10 && parted > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_programs_forget_what_the_model_forgets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
