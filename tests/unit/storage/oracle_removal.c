/*
 * Steps that take away: hiding, erasing, undoing, by policies and holds or by hand, parting,
 * deletion of ranges, forgetting of series.
 */

#include "tests/unit/storage/oracle_program.h"

#include <errno.h>

/* ---- hiding, erasing, undoing ---- */

static int has_run(void *owner, const struct store_run_state *state)
{
	return state->run.id == *(const uint64_t *)owner;
}

static bool program_has_run(struct program *program, uint64_t run)
{
	return store_runs(program->store, has_run, &run) != 0;
}

/* A write that failed is looked for after the next one that did not. */
void program_flush(struct program *program)
{
	int r;
	do {
		r = store_flush(program->store);
	} while (program_must_again(program, r, FAIL_NOT));
}

static void program_hide(
        struct program *program, const struct store_expire_item *items, uint32_t count)
{
	struct model_run *slot = model_find_run(program->model, 0);
	struct store_expired expired = { 0 };
	struct store_expired expected = { 0 };
	if (!slot || count == 0)
		return;
	struct store_run run = {
		.id = ++program->runs_begun,
		.hidden_ns = program_now(program),
		.note = "oracle",
	};
	enum failure failure = program_may_fail(program, 300);
	int r;
	do {
		r = store_hide(program->store, &run, items, count, &expired);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	if (r < 0) {
		program_flush(program);
		if (!program_has_run(program, run.id))
			return;
	}
	bool is_hidden = model_hide(
	        program->model, slot, run.id, run.hidden_ns, items, count, &expected);
	assert_int_equal(program_has_run(program, run.id), is_hidden);
	for (uint32_t level = 0; level < STORE_EXPIRE_LEVELS && r == 0; level++) {
		assert_int_equal(expired.windows[level], expected.windows[level]);
		program->reached->hidden[level] += expired.windows[level] + expired.units[level];
	}
}

void program_hide_some(struct program *program)
{
	struct store_expire_item items[12];
	uint32_t count = 0;
	program_look(program, 0, 0, false);
	for (uint64_t i = rng_below(&program->rng, COUNT_OF(items)); i > 0; i--) {
		if (program->told_count == 0)
			return;
		const struct told *told =
		        &program->told[rng_below(&program->rng, program->told_count)];
		items[count++] = (struct store_expire_item){ told->window,
			rng_below(&program->rng, 4) == 0 ? STORE_UNIT_NONE : told->unit,
			rng_below(&program->rng, 2) ? STORE_PART_ALL : STORE_PART_DETAIL };
	}
	program_hide(program, items, count);
}

/* What the disk no longer has of what the run hides. */
static void program_settle_window(struct program *program, struct model_window *window,
        const struct model_run *run, bool must_be_gone)
{
	bool is_taken = model_is_taken(program->model, window);
	for (uint32_t i = 0; i < window->units_count; i++) {
		struct model_unit *unit = &window->units[i];
		uint32_t hid = model_run_parts(run, &window->name, unit->number);
		if (unit->is_gone || !hid)
			continue;
		const struct told *told = program_find_told(program, &window->name, unit->number);
		uint32_t parts = told ? told->parts : 0;
		CHECK(!(unit->parts & ~parts & ~hid)); /* nothing else went */
		CHECK(!must_be_gone || !(parts & hid));
		unit->parts = parts;
		unit->is_gone = parts == 0;
		unit->is_void = unit->is_gone && !is_taken;
	}
}

static void program_settle_erased(
        struct program *program, const struct model_run *run, bool must_be_gone)
{
	struct model *model = program->model;
	program_look(program, 0, 0, false);
	for (uint32_t i = model->windows_count; i > 0; i--) {
		struct model_window *window = model->windows[i - 1];
		if (!model_run_names(run, &window->name))
			continue;
		program_settle_window(program, window, run, must_be_gone);
	}
	for (uint32_t i = model->windows_count; i > 0; i--) {
		struct model_window *window = model->windows[i - 1];
		if (!model_run_names(run, &window->name) || program_is_told(program, &window->name))
			continue;
		bool is_any_left = false;
		for (uint32_t j = 0; j < window->units_count; j++)
			is_any_left |= !window->units[j].is_gone;
		CHECK(!is_any_left);
		program->reached->erased[window->name.level]++;
		model_remove(model, window);
	}
}

struct model_run *program_pick_run(struct program *program)
{
	struct model_run *run = &program->model->runs[rng_below(&program->rng, MODEL_RUNS_MAX)];
	return run->id ? run : NULL;
}

void program_erase(struct program *program, struct model_run *run)
{
	struct store_expired expired = { 0 };
	enum failure failure = program_may_fail(program, 600);
	int r;
	do {
		r = store_erase(program->store, run->id, NULL, &expired);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	program_flush(program);
	bool is_over = !program_has_run(program, run->id);
	CHECK(is_over || r < 0);
	program_settle_erased(program, run, is_over);
	if (is_over)
		*run = (struct model_run){ 0 };
	model_settle_hidden(program->model);
}

/* Rollups made while it was hidden are made anew, where nothing is lost by that. */
void program_undo(struct program *program, struct model_run *run)
{
	struct model *model = program->model;
	struct store_expired back = { 0 };
	static struct store_window_name dropped[MODEL_WINDOWS_MAX];
	uint32_t count = 0;
	for (uint32_t i = 0; i < model->windows_count; i++) {
		struct model_window *rollup = model->windows[i];
		bool has_any = false;
		for (uint32_t j = 0; j < model->windows_count; j++)
			has_any |= model_run_names(run, &model->windows[j]->name) &&
			           model_has_source(rollup, &model->windows[j]->name);
		if (has_any && rollup->made_ns >= run->hidden_ns &&
		        model_can_make_again(model, rollup, run))
			dropped[count++] = rollup->name;
	}
	enum failure failure = program_may_fail(program, 300);
	int r;
	do {
		r = store_undo(program->store, run->id, &back);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	program_flush(program);
	if (program_has_run(program, run->id)) {
		CHECK(r < 0);
		program_settle_erased(program, run, false);
		return;
	}
	program_settle_erased(program, run, false);
	for (uint32_t i = 0; i < count; i++)
		model_remove(model, model_find(model, &dropped[i]));
	*run = (struct model_run){ 0 };
	model_settle_hidden(model);
	program->reached->undone++;
}

/* ---- policies and holds ---- */

void program_make_policy(struct program *program, uint32_t number)
{
	struct rng *rng = &program->rng;
	struct policy *policy = &program->policies[number];
	uint64_t dice = rng_below(rng, 3);
	policy->priority = (uint32_t)rng_below(rng, 3);
	policy->series = dice == 0   ? model_series_of_service((uint32_t)rng_below(rng, 3))
	                 : dice == 1 ? model_series_of_instance((uint32_t)rng_below(rng, 5))
	                             : 0;
	/* One is of all and the least: what nobody names goes as well. */
	if (number == 0)
		*policy = (struct policy){ .series = (1u << MODEL_SERIES) - 1 };
	uint64_t keep_s = 0;
	for (int tier = 0; tier < TIERS; tier++) {
		keep_s += rng_below(rng, tier == 0 ? 120 : 200);
		policy->keep_s[tier] = keep_s;
	}
}

/* The longest of those with the highest priority. */
static uint64_t program_keep_s(const struct program *program, uint32_t series, uint32_t tier)
{
	uint32_t priority = 0;
	uint64_t keep_s = 0;
	for (int i = 0; i < POLICIES; i++) {
		const struct policy *policy = &program->policies[i];
		if (!(policy->series >> series & 1) || policy->priority < priority)
			continue;
		if (policy->priority > priority)
			keep_s = 0;
		priority = policy->priority;
		keep_s = policy->keep_s[tier] > keep_s ? policy->keep_s[tier] : keep_s;
	}
	return keep_s;
}

static bool program_is_held(const struct program *program, const struct told *told)
{
	for (int i = 0; i < HOLDS; i++)
		if (program->holds[i].series & told->series &&
		        told->window.from_ns < program->holds[i].to_ns &&
		        told->window.to_ns > program->holds[i].from_ns)
			return true;
	return false;
}

/* Has this tier of it expired, for all of its series? */
static bool program_has_expired(struct program *program, const struct told *told, uint32_t tier)
{
	for (uint32_t s = 0; s < MODEL_SERIES; s++)
		if ((told->series >> s & 1) &&
		        told->window.to_ns + program_keep_s(program, s, tier) * SECOND >
		                program_now(program))
			return false;
	return true;
}

/* As the model has them, which program_check_windows() holds against the store: they never change.
 */
static uint32_t program_told_series(struct program *program, const struct told *told)
{
	struct model_window *window = model_find(program->model, &told->window);
	CHECK(window);
	const struct model_unit *unit = model_unit(window, told->unit);
	CHECK(unit || told->unit == STORE_UNIT_NONE);
	return unit ? model_unit_series(unit) : 0;
}

void program_retain(struct program *program)
{
	static struct store_expire_item items[MODEL_ITEMS_MAX];
	uint32_t count = 0;
	program_look(program, 0, 0, false);
	for (uint32_t i = 0; i < program->told_count && count < MODEL_ITEMS_MAX; i++) {
		struct told *told = &program->told[i];
		told->series = program_told_series(program, told);
		uint32_t seen = told->parts & ~told->hidden;
		uint32_t parts = 0;
		if (program_is_held(program, told)) {
			program->reached->held++;
			continue;
		}
		if (seen & STORE_PART_DETAIL && program_has_expired(program, told, 0))
			parts |= STORE_PART_DETAIL;
		/* Sums wait until they are in a rollup, unless that has expired as well. */
		if (seen & STORE_PART_SUMS &&
		        program_has_expired(program, told, 1 + told->window.level) &&
		        (told->is_rolled_up || program_has_expired(program, told, 3)))
			parts |= STORE_PART_SUMS;
		if (parts)
			items[count++] = (struct store_expire_item){ told->window, told->unit,
				parts };
	}
	program_hide(program, items, count);
}

/* A hold undoes what is hidden already. */
void program_hold(struct program *program)
{
	struct rng *rng = &program->rng;
	struct hold *hold = &program->holds[rng_below(rng, HOLDS)];
	if (hold->series) {
		hold->series = 0;
		return;
	}
	hold->series = rng_below(rng, 2) ? model_series_of_service((uint32_t)rng_below(rng, 3))
	                                 : model_series_of_instance((uint32_t)rng_below(rng, 5));
	hold->from_ns = program_now(program) - rng_below(rng, 600) * SECOND;
	hold->to_ns = hold->from_ns + rng_below(rng, 300) * SECOND;
	for (int i = 0; i < MODEL_RUNS_MAX; i++)
		if (program->model->runs[i].id && rng_below(rng, 2))
			program_undo(program, &program->model->runs[i]);
}

/* ---- parting and deleting ---- */

/*
 * A unit that is not told of any more went, or was parted: then nothing is missing by that, but
 * what of it went at once was a unit for a moment.
 */
static void settle_unit(struct model_window *window, uint32_t number, uint32_t gone, bool is_taken)
{
	struct model_unit *unit = &window->units[number];
	uint32_t series = model_unit_series(unit);
	unit->is_gone = true;
	unit->is_void = !is_taken || (series & ~gone) != 0;
	if (!(series & gone) || !(series & ~gone))
		return;
	struct model_unit *part = model_add_unit(window, UINT32_MAX - window->units_count);
	part->service = window->units[number].service;
	part->is_gone = true;
	part->is_void = !is_taken;
}

/* Units of a window that are new have what units that went had, but for what is to go. */
static void program_settle_parted(
        struct program *program, struct model_window *window, uint32_t gone)
{
	struct model_unit pool = { 0 };
	uint32_t count = window->units_count;
	bool is_taken = model_is_taken(program->model, window);
	for (uint32_t i = 0; i < count; i++) {
		struct model_unit *unit = &window->units[i];
		if (unit->is_gone || program_find_told(program, &window->name, unit->number))
			continue;
		/* Of what runs hide only whole units go: they are not parted. */
		CHECK(!(model_unit_series(unit) & gone) || !(unit->hidden & STORE_PART_SUMS) ||
		        !(model_unit_series(unit) & ~gone));
		for (uint32_t j = 0; j < unit->shares_count; j++)
			model_put_share(&pool, unit->shares[j].section, unit->shares[j].series);
		settle_unit(window, i, gone, is_taken);
	}
	for (uint32_t i = 0; i < program->told_count; i++) {
		const struct told *told = &program->told[i];
		if (!model_is_same(&told->window, &window->name) || told->unit == STORE_UNIT_NONE ||
		        model_unit(window, told->unit))
			continue;
		struct model_unit *unit = program_add_told(window, told);
		for (uint32_t j = 0; j < pool.shares_count; j++) {
			struct model_share *share = &pool.shares[j];
			if (share->series & told->series)
				model_put_share(unit, share->section, share->series & told->series);
			share->series &= ~told->series;
		}
	}
	CHECK(!(model_unit_series(&pool) & ~gone)); /* nothing else went */
	free(pool.shares);
}

void program_part(struct program *program)
{
	uint32_t divisor = 1 + (uint32_t)rng_below(&program->rng, 2);
	struct model *model = program->model;
	struct store_resealed resealed = { 0 };
	if (model->windows_count == 0)
		return;
	struct model_window *window =
	        model->windows[rng_below(&program->rng, model->windows_count)];
	if (window->name.level > 0)
		return;
	enum failure failure = program_may_fail(program, 1000);
	int r;
	do {
		r = store_reseal(
		        program->store, window->name, oracle_classify, &divisor, &resealed);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	program_flush(program);
	program_look(program, window->name.from_ns, window->name.to_ns, true);
	program_settle_parted(program, window, 0);
	model_settle_hidden(model);
	program->reached->parted += resealed.units_parted;
}

/* May the range be cut out of the window, as all that it has can be told apart? */
static bool program_can_cut(struct program *program, const struct model_window *window)
{
	for (uint32_t i = 0; i < window->units_count; i++)
		if (window->units[i].is_gone || window->units[i].hidden ||
		        (window->name.level == 0 && !(window->units[i].parts & STORE_PART_DETAIL)))
			return false;
	for (uint32_t i = 0; i < window->sources_count; i++) {
		struct model_window *source = model_find(program->model, &window->sources[i]);
		if (window->sources[i].level == 0 &&
		        (!source || source->is_hidden || !program_can_cut(program, source)))
			return false;
	}
	return true;
}

static bool overlaps(const struct model_window *window, uint64_t from, uint64_t to)
{
	return window->name.from_ns < to && window->name.to_ns > from;
}

static bool is_within(const struct model_window *window, uint64_t from, uint64_t to)
{
	return window->name.from_ns >= from && window->name.to_ns <= to;
}

/* What is visible of a window that was cut, and outside of the range, is open again. */
static void program_reopen(
        struct program *program, const struct model_window *window, uint64_t from, uint64_t to)
{
	struct model *model = program->model;
	for (uint32_t i = 0; i < window->sections_count && !window->is_hidden; i++) {
		struct model_section *section = &model->sections[window->sections[i]];
		section->is_open |= section->start_ns < from || section->start_ns >= to;
	}
	for (uint32_t i = 0; i < window->units_count; i++) {
		const struct model_unit *unit = &window->units[i];
		if (!model_unit_is_visible(unit) ||
		        !(unit->parts & ~unit->hidden & STORE_PART_DETAIL))
			continue;
		for (uint32_t j = 0; j < unit->shares_count; j++) {
			struct model_section *section = &model->sections[unit->shares[j].section];
			if (section->start_ns < from || section->start_ns >= to)
				section->open |= unit->shares[j].series;
		}
	}
}

/* Batches that go, each counted where it is finest. */
static uint64_t program_count_range(struct program *program, uint64_t from, uint64_t to)
{
	struct model *model = program->model;
	uint64_t batches = 0;
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++) {
		const struct model_section *section = &model->sections[i];
		batches += section->is_there && section->is_open && section->start_ns >= from &&
		           section->start_ns < to;
	}
	for (uint32_t i = 0; i < model->windows_count; i++) {
		const struct model_window *window = model->windows[i];
		bool is_finest = true;
		for (uint32_t j = 0; j < window->sources_count; j++)
			is_finest &= !model_find(model, &window->sources[j]);
		if (!overlaps(window, from, to) || !is_finest)
			continue;
		bool is_cut = !is_within(window, from, to);
		batches += is_cut ? 0 : window->batches;
		for (uint32_t j = 0; j < window->sections_count && !window->is_hidden; j++) {
			const struct model_section *section = &model->sections[window->sections[j]];
			batches += is_cut && section->start_ns >= from && section->start_ns < to;
		}
	}
	return batches;
}

void program_delete_range(struct program *program, uint64_t from, uint64_t to)
{
	struct model *model = program->model;
	uint64_t batches = 0;
	uint64_t expected = program_count_range(program, from, to);
	bool can = true;
	int r;
	for (uint32_t i = 0; i < model->windows_count; i++)
		if (overlaps(model->windows[i], from, to) &&
		        !is_within(model->windows[i], from, to))
			can &= program_can_cut(program, model->windows[i]);
	do {
		r = store_delete_range(program->store, from, to, &batches);
	} while (r != -ENODATA && program_must_again(program, r, FAIL_NOT));
	if (r == -ENODATA) {
		CHECK(!can);
		return;
	}
	assert_int_equal(batches, expected);
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++) {
		struct model_section *section = &model->sections[i];
		if (section->start_ns < from || section->start_ns >= to)
			continue;
		section->is_open = false;
		section->open = 0;
	}
	for (uint32_t i = model->windows_count; i > 0; i--) {
		struct model_window *window = model->windows[i - 1];
		if (!overlaps(window, from, to))
			continue;
		if (window->name.level == 0 && !is_within(window, from, to))
			program_reopen(program, window, from, to);
		model_remove(model, window);
	}
}

void program_delete(struct program *program)
{
	uint64_t from = program_now(program) - rng_below(&program->rng, 900) * SECOND;
	program_delete_range(program, from, from + (1 + rng_below(&program->rng, 60)) * SECOND);
}

/* Deletion on request: a service, or an instance of all. */
void program_forget(struct program *program)
{
	struct model *model = program->model;
	struct rng *rng = &program->rng;
	bool is_service = rng_below(rng, 2);
	uint32_t number = (uint32_t)rng_below(rng, is_service ? MODEL_SERVICES : MODEL_INSTANCES);
	uint32_t gone = is_service ? model_series_of_service(number)
	                           : model_series_of_instance(number);
	char text[64];
	char error[64];
	AUTO(selector) selector = NULL;
	struct store_forgotten forgotten = { 0 };
	snprintf(text, sizeof(text), "{instance=\"%s\"}", oracle_instance(is_service ? 0 : number));
	CHECK_OK(selector_parse(text, &selector, error, sizeof(error)));
	snprintf(text, sizeof(text), "service%u", number);
	uint64_t from = program_now(program) - rng_below(rng, 900) * SECOND;
	from -= from % (60 * SECOND);
	struct store_forget_options options = {
		.tenant = "",
		.service = is_service ? text : NULL,
		.selector = is_service ? NULL : selector,
		.from_ns = from,
		.to_ns = from + (1 + rng_below(rng, 8)) * 60 * SECOND,
	};
	for (uint32_t i = 0; i < model->windows_count; i++)
		model->windows[i]->can_make_again = model_can_make_again(
		        model, model->windows[i], NULL);
	int r;
	do {
		r = store_forget(program->store, &options, &forgotten);
	} while (program_must_again(program, r, FAIL_NOT));
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++) {
		struct model_section *section = &model->sections[i];
		if (section->start_ns >= options.from_ns && section->start_ns < options.to_ns)
			section->open &= ~gone;
	}
	program->reached->forgotten++;
	program_look(program, 0, 0, true);
	for (uint32_t i = model->windows_count; i > 0; i--) {
		struct model_window *window = model->windows[i - 1];
		if (!is_within(window, options.from_ns, options.to_ns) ||
		        program_is_told(program, &window->name))
			continue;
		/* All of it went, or it can be made again. */
		for (uint32_t j = 0; j < window->units_count; j++)
			CHECK(window->can_make_again || window->units[j].is_gone ||
			        !(model_unit_series(&window->units[j]) & ~gone));
		model_remove(model, window);
	}
	uint64_t mixed = 0;
	for (uint32_t i = 0; i < model->windows_count; i++) {
		struct model_window *window = model->windows[i];
		if (!is_within(window, options.from_ns, options.to_ns))
			continue;
		program_settle_parted(program, window, gone);
		for (uint32_t j = 0; j < window->units_count; j++) {
			const struct model_unit *unit = &window->units[j];
			uint32_t series = model_unit_series(unit);
			mixed += model_unit_is_visible(unit) && (series & gone);
			/* No run has any of it to bring back. */
			CHECK(unit->is_gone || !series || (series & ~gone));
		}
	}
	CHECK(mixed == 0 || forgotten.units_mixed > 0);
	CHECK(!is_service || forgotten.units_mixed == 0);
	model_settle_hidden(model);
}
