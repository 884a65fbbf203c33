/*
 * The life of what was sent, as lists. See oracle_model.h.
 *
 * What answers for what (the plan of a question) is said once more here, over all windows at once
 * instead of stretch by stretch:
 *
 *	a rollup answers when all of it is wanted, its sums can tell apart what the question does,
 *	and none of its units that are wanted is gone; or when there is nothing finer to be read
 *	what it was made of is then left out
 *	otherwise what is finer answers, and what is missing there is counted
 */

#include "tests/unit/storage/oracle_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile/wire.h"
#include "tests/lib/test.h"

#define SECOND UINT64_C(1000000000)

const uint64_t model_periods[MODEL_PERIODS] = { 1, 20408163 };

uint32_t model_series_of_service(uint32_t service)
{
	uint32_t bits = 0;
	for (uint32_t s = 0; s < MODEL_SERIES; s++)
		bits |= model_service(s) == service ? 1u << s : 0;
	return bits;
}

uint32_t model_series_of_instance(uint32_t instance)
{
	uint32_t bits = 0;
	for (uint32_t s = 0; s < MODEL_SERIES; s++)
		bits |= model_instance(s) == instance ? 1u << s : 0;
	return bits;
}

uint32_t model_place(uint32_t generation)
{
	uint32_t place = generation < MODEL_GENERATION_COMPACT
	                         ? generation
	                         : MODEL_GENERATIONS_MAX / 2 + generation -
	                                   MODEL_GENERATION_COMPACT;
	assert_true(place < MODEL_GENERATIONS_MAX);
	return place;
}

uint32_t model_known(const struct model *model, uint32_t generation)
{
	uint32_t series = 0;
	if (generation < MODEL_GENERATION_COMPACT)
		return model->generation_series[model_place(generation)];
	for (uint32_t i = 0; i < model->windows_count; i++)
		for (uint32_t j = 0; j < model->windows[i]->units_count; j++)
			if (model->windows[i]->generation == generation)
				series |= model_unit_series(&model->windows[i]->units[j]);
	return series;
}

struct model *model_new(void)
{
	struct model *model = calloc(1, sizeof(*model));
	assert_non_null(model);
	return model;
}

static void window_free(struct model_window *window)
{
	for (uint32_t i = 0; i < window->units_count; i++)
		free(window->units[i].shares);
	free(window->sections);
	free(window);
}

void model_free(struct model *model)
{
	for (uint32_t i = 0; i < model->windows_count; i++)
		window_free(model->windows[i]);
	free(model);
}

/* ---- sections ---- */

static struct model_section *model_find_place(struct model *model)
{
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++)
		if (!model->sections[i].is_there)
			return &model->sections[i];
	return NULL;
}

static void section_fill(struct model_section *section, struct rng *rng)
{
	section->rows_count = (uint32_t)rng_below(rng, MODEL_ROWS_MAX + 1);
	for (uint32_t i = 0; i < section->rows_count; i++) {
		section->rows[i] = (struct model_row){
			.series = (uint32_t)rng_below(rng, MODEL_SERIES),
			.function = (uint32_t)rng_below(rng, MODEL_FUNCTIONS),
			.value = 1 + rng_below(rng, 1000),
		};
		section->reported |= 1u << section->rows[i].series;
	}
	for (uint64_t i = rng_below(rng, 4); i > 0; i--) {
		uint32_t series = (uint32_t)rng_below(rng, MODEL_SERIES);
		section->coverage_ns[series] += 1 + rng_below(rng, 10 * SECOND);
		section->reported |= 1u << series;
	}
	for (uint64_t i = rng_below(rng, 3); i > 0; i--)
		section->lost[rng_below(rng, MODEL_SERIES)] += 1 + rng_below(rng, 9);
	if (rng_below(rng, 5) == 0)
		section->lost_of_none = 1 + rng_below(rng, 9);
}

struct model_section *model_new_section(struct model *model, struct rng *rng, uint64_t now_ns)
{
	struct model_section *section = model_find_place(model);
	if (!section)
		return NULL;
	/* Mostly of now, sometimes late; every ten seconds, so that there are gaps of every kind.
	 */
	uint64_t age_s = rng_below(rng, 12) ? rng_below(rng, 120) : rng_below(rng, 800);
	uint64_t start_ns = now_ns - (age_s + 10) * SECOND;
	*section = (struct model_section){
		.observer = (uint32_t)rng_below(rng, MODEL_OBSERVERS),
		.epoch = (uint32_t)rng_below(rng, MODEL_EPOCHS),
		.shard = (uint32_t)rng_below(rng, MODEL_SHARDS),
		.start_ns = start_ns - start_ns % (10 * SECOND) + rng_below(rng, 3) * 40000000,
		.duration_ns = 10 * SECOND,
		.is_there = true,
	};
	uint64_t *seq = &model->next_seq[section->observer][section->epoch][section->shard];
	section->seq = ++*seq;
	/* Some are skipped and stay gaps for ever. */
	if (rng_below(rng, 6) == 0)
		*seq += 3;
	section_fill(section, rng);
	return section;
}

static bool model_is_used(const struct model *model, uint32_t section)
{
	for (uint32_t i = 0; i < model->windows_count; i++)
		for (uint32_t j = 0; j < model->windows[i]->sections_count; j++)
			if (model->windows[i]->sections[j] == section)
				return true;
	return model->sections[section].is_open;
}

void model_forget_sections(struct model *model, uint64_t before_ns)
{
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++) {
		struct model_section *section = &model->sections[i];
		if (section->is_there && section->start_ns < before_ns && !model_is_used(model, i))
			section->is_there = false;
	}
}

static uint32_t section_series(const struct model_section *section)
{
	uint32_t bits = section->reported;
	for (uint32_t s = 0; s < MODEL_SERIES; s++)
		bits |= section->lost[s] ? 1u << s : 0;
	return bits;
}

uint64_t model_folded(const struct model_section *section, uint32_t series)
{
	uint64_t folded = 0;
	for (uint32_t i = 0; i < section->rows_count; i++)
		if (section->rows[i].series == series && section->rows[i].value % 4 == 0)
			folded += section->rows[i].value / 2;
	return folded;
}

void model_keep(struct model *model, struct model_section *section, uint32_t generation)
{
	section->is_kept = true;
	section->is_open = true;
	section->generation = generation;
	section->open = section_series(section);
	model->generation_series[model_place(generation)] |= section->open;
	model->counters.batches++;
	for (uint32_t i = 0; i < section->rows_count; i++)
		model->counters.samples += section->rows[i].value;
	for (uint32_t s = 0; s < MODEL_SERIES; s++) {
		model->counters.lost[LOSS_RING_FULL] += section->lost[s];
		model->counters.samples_folded += model_folded(section, s);
	}
	model->counters.lost[LOSS_PERF_LOST] += section->lost_of_none;
}

/* ---- windows ---- */

bool model_is_same(const struct store_window_name *a, const struct store_window_name *b)
{
	return a->level == b->level && a->number == b->number && a->from_ns == b->from_ns &&
	       a->to_ns == b->to_ns;
}

struct model_window *model_find(struct model *model, const struct store_window_name *name)
{
	for (uint32_t i = 0; i < model->windows_count; i++)
		if (model_is_same(&model->windows[i]->name, name))
			return model->windows[i];
	return NULL;
}

struct model_window *model_add(struct model *model, const struct store_window_name *name)
{
	struct model_window *window = calloc(1, sizeof(*window));
	assert_non_null(window);
	assert_true(model->windows_count < MODEL_WINDOWS_MAX);
	window->name = *name;
	model->windows[model->windows_count++] = window;
	return window;
}

void model_remove(struct model *model, struct model_window *window)
{
	uint32_t at = 0;
	while (model->windows[at] != window)
		at++;
	window_free(window);
	model->windows[at] = model->windows[--model->windows_count];
}

struct model_unit *model_unit(struct model_window *window, uint32_t number)
{
	for (uint32_t i = 0; i < window->units_count; i++)
		if (window->units[i].number == number && !window->units[i].is_gone)
			return &window->units[i];
	return NULL;
}

struct model_unit *model_add_unit(struct model_window *window, uint32_t number)
{
	assert_true(window->units_count < MODEL_UNITS_MAX);
	struct model_unit *unit = &window->units[window->units_count++];
	*unit = (struct model_unit){ .number = number };
	return unit;
}

void model_put_share(struct model_unit *unit, uint32_t section, uint32_t series)
{
	for (uint32_t i = 0; i < unit->shares_count; i++)
		if (unit->shares[i].section == section) {
			unit->shares[i].series |= series;
			return;
		}
	unit->shares = realloc(unit->shares, (unit->shares_count + 1) * sizeof(*unit->shares));
	assert_non_null(unit->shares);
	unit->shares[unit->shares_count++] = (struct model_share){ section, series };
}

void model_put_section(struct model_window *window, uint32_t section)
{
	for (uint32_t i = 0; i < window->sections_count; i++)
		if (window->sections[i] == section)
			return;
	window->sections = realloc(
	        window->sections, (window->sections_count + 1) * sizeof(*window->sections));
	assert_non_null(window->sections);
	window->sections[window->sections_count++] = section;
}

void model_note_ends(struct model_window *window, uint64_t first_ns, uint64_t last_ns)
{
	if (window->first_ns == 0 || first_ns < window->first_ns)
		window->first_ns = first_ns;
	if (last_ns > window->last_ns)
		window->last_ns = last_ns;
}

uint32_t model_unit_series(const struct model_unit *unit)
{
	uint32_t bits = 0;
	for (uint32_t i = 0; i < unit->shares_count; i++)
		bits |= unit->shares[i].series;
	return bits;
}

bool model_unit_is_visible(const struct model_unit *unit)
{
	return !unit->is_gone && !(unit->hidden & STORE_PART_SUMS);
}

static bool unit_has_detail(const struct model_unit *unit)
{
	return unit->parts & ~unit->hidden & STORE_PART_DETAIL;
}

bool model_has_source(const struct model_window *window, const struct store_window_name *source)
{
	for (uint32_t i = 0; i < window->sources_count; i++)
		if (model_is_same(&window->sources[i], source))
			return true;
	return false;
}

bool model_is_taken(struct model *model, const struct model_window *window)
{
	for (uint32_t i = 0; i < model->windows_count; i++)
		if (model->windows[i]->name.level > window->name.level &&
		        model_has_source(model->windows[i], &window->name))
			return true;
	return false;
}

bool model_is_rolled_up(struct model *model, const struct model_window *window)
{
	for (uint32_t i = 0; i < model->windows_count; i++)
		if (model->windows[i]->name.level == window->name.level + 1 &&
		        !model->windows[i]->is_hidden &&
		        model_has_source(model->windows[i], &window->name))
			return true;
	return false;
}

/* ---- what is hidden ---- */

struct model_run *model_find_run(struct model *model, uint64_t id)
{
	for (uint32_t i = 0; i < MODEL_RUNS_MAX; i++)
		if (model->runs[i].id == id)
			return &model->runs[i];
	return NULL;
}

bool model_run_names(const struct model_run *run, const struct store_window_name *window)
{
	for (uint32_t i = 0; i < run->items_count; i++)
		if (model_is_same(&run->items[i].window, window))
			return true;
	return false;
}

uint32_t model_run_parts(
        const struct model_run *run, const struct store_window_name *window, uint32_t unit)
{
	uint32_t parts = 0;
	for (uint32_t i = 0; i < run->items_count; i++) {
		const struct store_expire_item *item = &run->items[i];
		if ((item->unit == unit || item->unit == STORE_UNIT_NONE) &&
		        model_is_same(&item->window, window))
			parts |= item->parts & STORE_PART_SUMS ? STORE_PART_ALL : item->parts;
	}
	return parts;
}

static bool run_has_whole(const struct model_run *run, const struct store_window_name *window)
{
	for (uint32_t i = 0; i < run->items_count; i++)
		if (run->items[i].unit == STORE_UNIT_NONE &&
		        model_is_same(&run->items[i].window, window))
			return true;
	return false;
}

void model_settle_hidden(struct model *model)
{
	for (uint32_t i = 0; i < model->windows_count; i++) {
		struct model_window *window = model->windows[i];
		window->is_hidden = false;
		for (uint32_t j = 0; j < window->units_count; j++)
			window->units[j].hidden = 0;
		for (uint32_t r = 0; r < MODEL_RUNS_MAX; r++) {
			const struct model_run *run = &model->runs[r];
			if (!run->id || !model_run_names(run, &window->name))
				continue;
			window->is_hidden |= run_has_whole(run, &window->name);
			for (uint32_t j = 0; j < window->units_count; j++)
				window->units[j].hidden |= model_run_parts(
				        run, &window->name, window->units[j].number);
		}
	}
}

static void run_put(
        struct model_run *run, const struct model_window *window, uint32_t unit, uint32_t parts)
{
	assert_true(run->items_count < MODEL_ITEMS_MAX);
	run->items[run->items_count++] = (struct store_expire_item){ window->name, unit, parts };
}

/* Of one window what the wish names and is visible; all there is of it goes as one. */
static void model_hide_window(struct model_run *run, const struct model_window *window,
        const struct model_run *wish, struct store_expired *expired)
{
	uint32_t before = run->items_count;
	bool is_all = true;
	bool is_any_left = false;
	for (uint32_t i = 0; i < window->units_count; i++) {
		const struct model_unit *unit = &window->units[i];
		uint32_t there = unit->is_gone ? 0 : unit->parts;
		uint32_t seen = there & ~unit->hidden;
		uint32_t goes = seen & model_run_parts(wish, &window->name, unit->number);
		is_any_left |= (seen & ~goes) != 0;
		is_all &= goes == there;
		if (!goes)
			continue;
		run_put(run, window, unit->number,
		        goes & STORE_PART_SUMS ? STORE_PART_ALL : STORE_PART_DETAIL);
		expired->units[window->name.level]++;
	}
	bool is_empty = window->units_count == 0 && !window->is_hidden &&
	                model_run_parts(wish, &window->name, STORE_UNIT_NONE) == STORE_PART_ALL;
	if (run->items_count > before ? is_all : is_empty) {
		run->items_count = before;
		run_put(run, window, STORE_UNIT_NONE, STORE_PART_ALL);
	}
	expired->windows[window->name.level] += run->items_count > before && !is_any_left;
}

bool model_hide(struct model *model, struct model_run *run, uint64_t id, uint64_t now_ns,
        const struct store_expire_item *items, uint32_t count, struct store_expired *ret_expired)
{
	static struct model_run wish;
	wish.items_count = count;
	memcpy(wish.items, items, count * sizeof(*items));
	*run = (struct model_run){ .id = id, .hidden_ns = now_ns };
	for (uint32_t i = 0; i < model->windows_count; i++)
		if (model_run_names(&wish, &model->windows[i]->name))
			model_hide_window(run, model->windows[i], &wish, ret_expired);
	if (run->items_count == 0)
		run->id = 0;
	model_settle_hidden(model);
	return run->items_count > 0;
}

static bool unit_is_missing(const struct model_window *window, const struct model_unit *unit,
        const struct model_run *but)
{
	uint32_t hid = but ? model_run_parts(but, &window->name, unit->number) : 0;
	return unit->is_gone ? !unit->is_void : (unit->hidden & ~hid & STORE_PART_SUMS) != 0;
}

/* Has the rollup anything of that service? */
static bool window_has_service(const struct model_window *window, uint32_t service)
{
	for (uint32_t i = 0; i < window->units_count; i++)
		if (!window->units[i].is_gone && window->units[i].service == service)
			return true;
	return false;
}

/* Every share of the rollup is in a unit of what it was made of, next below, that can be read. */
static bool model_sources_have(
        struct model *model, const struct model_window *rollup, const struct model_run *but)
{
	uint32_t left[MODEL_SECTIONS_MAX] = { 0 };
	for (uint32_t i = 0; i < rollup->units_count; i++)
		for (uint32_t j = 0; j < rollup->units[i].shares_count && !rollup->units[i].is_gone;
		        j++)
			left[rollup->units[i].shares[j].section] |=
			        rollup->units[i].shares[j].series;
	for (uint32_t i = 0; i < rollup->sources_count; i++) {
		const struct model_window *source = model_find(model, &rollup->sources[i]);
		if (!source || source->name.level + 1 != rollup->name.level)
			continue;
		for (uint32_t j = 0; j < source->units_count; j++) {
			const struct model_unit *unit = &source->units[j];
			if (unit->is_gone || unit_is_missing(source, unit, but))
				continue;
			for (uint32_t k = 0; k < unit->shares_count; k++)
				left[unit->shares[k].section] &= ~unit->shares[k].series;
		}
	}
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++)
		if (left[i])
			return false;
	return true;
}

bool model_can_make_again(
        struct model *model, const struct model_window *rollup, const struct model_run *but)
{
	for (uint32_t i = 0; i < rollup->sources_count; i++) {
		if (rollup->sources[i].level + 1 != rollup->name.level)
			continue;
		const struct model_window *source = model_find(model, &rollup->sources[i]);
		if (!source || (source->is_hidden && !(but && run_has_whole(but, &source->name))))
			return false;
		for (uint32_t j = 0; j < source->units_count; j++)
			if (unit_is_missing(source, &source->units[j], but) &&
			        (window_has_service(rollup, source->units[j].service) ||
			                rollup->generation != source->generation))
				return false; /* in another dictionary nobody can tell */
	}
	/* So much is sure: nothing is lost by it. */
	assert_true(rollup->name.level == 0 || model_sources_have(model, rollup, but));
	return rollup->name.level > 0;
}

/* ---- the plan of a question ---- */

struct asking {
	struct model *model;
	const struct model_question *question;
	struct model_answer *answer;
	const struct model_window *used[MODEL_WINDOWS_MAX]; /* rollups */
	uint32_t used_count;
	bool is_met[MODEL_SERIES];
	bool is_seen[MODEL_OBSERVERS]; /* has something that is wanted */
	bool has_resolution;
	bool reads[MODEL_SECTIONS_MAX]; /* sections whose being there counts */
};

/* Has the dictionary of the window a series of the unit's service that is wanted? */
static bool asking_wants_unit(const struct asking *asking, const struct model_window *window,
        const struct model_unit *unit)
{
	return asking->question->wanted & model_known(asking->model, window->generation) &
	       model_series_of_service(unit->service);
}

/* Is it there, with all units of it that are wanted? */
static bool asking_can_read(const struct asking *asking, const struct model_window *window)
{
	if (!window || window->is_hidden)
		return false;
	for (uint32_t i = 0; i < window->units_count; i++) {
		const struct model_unit *unit = &window->units[i];
		if (unit_is_missing(window, unit, NULL) && asking_wants_unit(asking, window, unit))
			return false;
	}
	return true;
}

/* Can what a rollup has of a window of level 0 be read from what is finer? */
static bool asking_is_there(const struct asking *asking, const struct model_window *rollup,
        const struct store_window_name *source)
{
	struct model *model = asking->model;
	if (asking_can_read(asking, model_find(model, source)))
		return true;
	for (uint32_t i = 0; i < model->windows_count; i++) {
		const struct model_window *between = model->windows[i];
		if (between->name.level > 0 && between->name.level < rollup->name.level &&
		        model_has_source(rollup, &between->name) &&
		        model_has_source(between, source) && asking_can_read(asking, between))
			return true;
	}
	return false;
}

/* Is one of what it was made of there (or not there)? */
static bool asking_has_source(
        const struct asking *asking, const struct model_window *rollup, bool wanted)
{
	for (uint32_t i = 0; i < rollup->sources_count; i++)
		if (rollup->sources[i].level == 0 &&
		        asking_is_there(asking, rollup, &rollup->sources[i]) == wanted)
			return true;
	return false;
}

static uint32_t unit_reported(const struct model *model, const struct model_unit *unit)
{
	uint32_t bits = 0;
	for (uint32_t i = 0; i < unit->shares_count; i++)
		bits |= unit->shares[i].series & model->sections[unit->shares[i].section].reported;
	return bits;
}

/* Can its sums tell apart what the question does? */
static bool asking_fits_unit(const struct asking *asking, const struct model_unit *unit)
{
	const struct model_question *question = asking->question;
	uint32_t reported = unit_reported(asking->model, unit);
	if (!(model_unit_series(unit) & question->wanted))
		return true;
	for (uint32_t a = 0; a < MODEL_SERIES; a++)
		for (uint32_t b = 0; b < a; b++) {
			bool wants_a = question->wanted >> a & 1;
			bool wants_b = question->wanted >> b & 1;
			if ((reported >> a & 1) && (reported >> b & 1) &&
			        asking->model->group_of_sums[a] ==
			                asking->model->group_of_sums[b] &&
			        (wants_a != wants_b ||
			                (wants_a && question->groups[a] != question->groups[b])))
				return false;
		}
	return true;
}

static bool asking_fits(const struct asking *asking, const struct model_window *window)
{
	for (uint32_t i = 0; i < window->units_count; i++)
		if (model_unit_is_visible(&window->units[i]) &&
		        asking_wants_unit(asking, window, &window->units[i]) &&
		        !asking_fits_unit(asking, &window->units[i]))
			return false;
	return true;
}

static bool asking_has_taken(const struct asking *asking, const struct store_window_name *name)
{
	for (uint32_t i = 0; i < asking->used_count; i++)
		if (model_has_source(asking->used[i], name))
			return true;
	return false;
}

/* Has it anything behind the range? What it has before it is not to be asked of it either. */
static bool window_is_cut(const struct model_window *window, const struct model_question *question)
{
	return window->name.to_ns > question->to_ns && window->last_ns >= question->to_ns;
}

static bool asking_uses(const struct asking *asking, const struct model_window *rollup)
{
	const struct model_question *question = asking->question;
	if (rollup->is_hidden || rollup->name.from_ns < question->from_ns ||
	        rollup->name.from_ns >= question->to_ns)
		return false;
	bool is_cut = window_is_cut(rollup, question);
	bool is_whole = asking_can_read(asking, rollup);
	if (!is_cut && is_whole && asking_fits(asking, rollup))
		return true;
	return is_cut || !is_whole ? !asking_has_source(asking, rollup, true)
	                           : asking_has_source(asking, rollup, false);
}

static void asking_plan(struct asking *asking)
{
	struct model *model = asking->model;
	for (uint32_t level = 2; level > 0; level--)
		for (uint32_t i = 0; i < model->windows_count; i++) {
			const struct model_window *rollup = model->windows[i];
			if (rollup->name.level == level &&
			        !asking_has_taken(asking, &rollup->name) &&
			        asking_uses(asking, rollup))
				asking->used[asking->used_count++] = rollup;
		}
}

/* ---- adding up ---- */

static void asking_note_resolution(struct asking *asking, uint64_t resolution_ns)
{
	struct completeness *to = &asking->answer->completeness;
	if (!asking->has_resolution || resolution_ns < to->resolution_finest_ns)
		to->resolution_finest_ns = resolution_ns;
	if (resolution_ns > to->resolution_coarsest_ns)
		to->resolution_coarsest_ns = resolution_ns;
	asking->has_resolution = true;
}

/* Some series of a section, as far as they are wanted. Returns whether there were rows. */
static bool asking_add(struct asking *asking, uint32_t number, uint32_t series)
{
	const struct model_section *section = &asking->model->sections[number];
	struct model_answer *answer = asking->answer;
	struct completeness *to = &answer->completeness;
	uint32_t wanted = series & asking->question->wanted;
	bool has_rows = false;
	for (uint32_t i = 0; i < section->rows_count; i++) {
		const struct model_row *row = &section->rows[i];
		if (!(wanted >> row->series & 1))
			continue;
		uint64_t in_unit = row->value * model_periods[row->series % MODEL_PERIODS];
		answer->value[asking->question->groups[row->series]][row->function] += in_unit;
		to->value += in_unit;
		to->samples += row->value;
		has_rows = true;
	}
	for (uint32_t s = 0; s < MODEL_SERIES; s++) {
		if (!(wanted >> s & 1))
			continue;
		answer->coverage_ns[s] += section->coverage_ns[s];
		to->coverage_ns += section->coverage_ns[s];
		to->lost[LOSS_RING_FULL] += section->lost[s];
		to->samples_capped += model_folded(section, s);
		to->value_capped += model_folded(section, s) * model_periods[s % MODEL_PERIODS];
		asking->is_met[s] |= section->reported >> s & 1;
	}
	asking->is_seen[section->observer] |= wanted != 0;
	return has_rows;
}

static bool asking_has(const struct asking *asking, const struct model_section *section)
{
	return section->start_ns >= asking->question->from_ns &&
	       section->start_ns < asking->question->to_ns;
}

static void asking_add_rows(struct asking *asking, const struct model_unit *unit)
{
	bool has_rows = false;
	for (uint32_t i = 0; i < unit->shares_count; i++)
		if (asking_has(asking, &asking->model->sections[unit->shares[i].section]))
			has_rows |= asking_add(
			        asking, unit->shares[i].section, unit->shares[i].series);
	if (has_rows)
		asking_note_resolution(asking, 0);
}

/* false: nobody can say any more what is wanted of it. */
static bool asking_add_whole(
        struct asking *asking, const struct model_window *window, const struct model_unit *unit)
{
	bool fits = asking_fits_unit(asking, unit);
	if (!(model_unit_series(unit) & asking->question->wanted))
		return true;
	if (!fits && unit_has_detail(unit))
		asking_add_rows(asking, unit);
	else if (!fits)
		return false;
	for (uint32_t i = 0; i < unit->shares_count && fits; i++)
		(void)asking_add(asking, unit->shares[i].section, unit->shares[i].series);
	if (fits)
		asking_note_resolution(asking, window->name.to_ns - window->name.from_ns);
	return true;
}

static void asking_miss(struct asking *asking, const struct store_window_name *name)
{
	asking->answer->completeness.windows_unanswerable++;
	asking->answer->completeness.unanswerable_ns += name->to_ns - name->from_ns;
}

static void asking_add_window(
        struct asking *asking, const struct model_window *window, bool is_whole)
{
	bool begins_in = window->name.from_ns >= asking->question->from_ns &&
	                 window->name.from_ns < asking->question->to_ns;
	bool is_missed = false;
	for (uint32_t i = 0; i < window->sections_count && !window->is_hidden; i++)
		if (is_whole || asking_has(asking, &asking->model->sections[window->sections[i]]))
			asking->reads[window->sections[i]] = true;
	for (uint32_t i = 0; i < window->units_count; i++) {
		const struct model_unit *unit = &window->units[i];
		if (!model_unit_is_visible(unit) || !asking_wants_unit(asking, window, unit))
			continue;
		if (!is_whole && unit_has_detail(unit))
			asking_add_rows(asking, unit);
		else if (is_whole || begins_in) /* without rows it is where it began */
			is_missed |= !asking_add_whole(asking, window, unit);
	}
	if (is_missed)
		asking_miss(asking, &window->name);
}

static void asking_add_sealed(struct asking *asking)
{
	const struct model_question *question = asking->question;
	for (uint32_t i = 0; i < asking->model->windows_count; i++) {
		const struct model_window *window = asking->model->windows[i];
		if (window->name.level == 0 && window->name.from_ns < question->to_ns &&
		        window->name.to_ns > question->from_ns &&
		        !asking_has_taken(asking, &window->name))
			asking_add_window(asking, window,
			        window->name.from_ns >= question->from_ns &&
			                !window_is_cut(window, question));
	}
	for (uint32_t i = 0; i < asking->used_count; i++)
		asking_add_window(asking, asking->used[i], true);
}

static void asking_add_open(struct asking *asking)
{
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++) {
		const struct model_section *section = &asking->model->sections[i];
		if (!section->is_there || !section->is_open || !asking_has(asking, section))
			continue;
		asking->reads[i] = true;
		if (asking_add(asking, i, section->open))
			asking_note_resolution(asking, 0);
	}
}

/* What began in the range, is in a rollup that is not used, and is not there. */
static void asking_miss_gone(struct asking *asking)
{
	static struct store_window_name gone[MODEL_WINDOWS_MAX];
	uint32_t count = 0;
	struct model *model = asking->model;
	const struct model_question *question = asking->question;
	for (uint32_t i = 0; i < model->windows_count; i++) {
		const struct model_window *rollup = model->windows[i];
		bool is_used = false;
		for (uint32_t j = 0; j < asking->used_count; j++)
			is_used |= asking->used[j] == rollup;
		if (rollup->name.level == 0 || rollup->is_hidden || is_used ||
		        rollup->name.to_ns <= question->from_ns ||
		        rollup->name.from_ns >= question->to_ns ||
		        asking_has_taken(asking, &rollup->name) ||
		        (rollup->name.from_ns < question->from_ns &&
		                !asking_has_source(asking, rollup, true)))
			continue;
		for (uint32_t j = 0; j < rollup->sources_count; j++) {
			const struct store_window_name *source = &rollup->sources[j];
			bool is_known = false;
			for (uint32_t k = 0; k < count; k++)
				is_known |= model_is_same(&gone[k], source);
			if (is_known || source->level > 0 || source->from_ns < question->from_ns ||
			        source->from_ns >= question->to_ns ||
			        asking_has_taken(asking, source) ||
			        asking_is_there(asking, rollup, source))
				continue;
			assert_true(count < MODEL_WINDOWS_MAX);
			gone[count++] = *source;
			asking_miss(asking, source);
		}
	}
}

static int compare_starts(const void *a, const void *b)
{
	uint64_t x = (*(const struct model_section *const *)a)->start_ns;
	uint64_t y = (*(const struct model_section *const *)b)->start_ns;
	return x < y ? -1 : x > y;
}

/* Gaps, intervals and nobody's losses of one observer, if he has anything that is wanted. */
static void asking_add_observer(struct asking *asking, uint32_t observer)
{
	static const struct model_section *own[MODEL_SECTIONS_MAX];
	struct completeness *to = &asking->answer->completeness;
	uint32_t count = 0;
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++)
		if (asking->reads[i] && asking->model->sections[i].observer == observer)
			own[count++] = &asking->model->sections[i];
	if (!asking->is_seen[observer])
		return;
	to->observers++;
	if (count == 0)
		return; /* rows of a window that was cut, which is where it began */
	qsort(own, count, sizeof(const struct model_section *), compare_starts);
	uint64_t covered_until = own[0]->start_ns;
	if (to->first_ns == 0 || own[0]->start_ns < to->first_ns)
		to->first_ns = own[0]->start_ns;
	to->intervals += count;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t end = own[i]->start_ns + own[i]->duration_ns;
		if (own[i]->start_ns > covered_until + 50000000)
			to->missing_ns += own[i]->start_ns - covered_until;
		if (end > covered_until)
			covered_until = end;
		to->lost[LOSS_PERF_LOST] += own[i]->lost_of_none;
	}
	if (covered_until > to->last_ns)
		to->last_ns = covered_until;
}

static void asking_add_series(struct asking *asking)
{
	struct completeness *to = &asking->answer->completeness;
	bool instance_met[MODEL_INSTANCES] = { false };
	for (uint32_t s = 0; s < MODEL_SERIES; s++) {
		uint64_t period = model_periods[s % MODEL_PERIODS];
		if (!asking->is_met[s])
			continue;
		to->series++;
		instance_met[model_instance(s)] = true;
		if (to->period_min == 0 || period < to->period_min)
			to->period_min = period;
		if (period > to->period_max)
			to->period_max = period;
	}
	for (uint32_t i = 0; i < MODEL_INSTANCES; i++)
		to->instances += instance_met[i];
}

void model_ask(
        struct model *model, const struct model_question *question, struct model_answer *ret_answer)
{
	static struct asking asking;
	memset(ret_answer, 0, sizeof(*ret_answer));
	asking = (struct asking){ .model = model, .question = question, .answer = ret_answer };
	asking_plan(&asking);
	asking_add_sealed(&asking);
	asking_add_open(&asking);
	asking_miss_gone(&asking);
	asking_add_series(&asking);
	for (uint32_t observer = 0; observer < MODEL_OBSERVERS; observer++)
		asking_add_observer(&asking, observer);
}

/* ---- what is there ---- */

uint32_t model_readable(struct model *model, uint32_t section)
{
	uint32_t series = model->sections[section].is_open ? model->sections[section].open : 0;
	for (uint32_t i = 0; i < model->windows_count; i++) {
		const struct model_window *window = model->windows[i];
		for (uint32_t j = 0; j < window->units_count && window->name.level == 0; j++) {
			const struct model_unit *unit = &window->units[j];
			if (!model_unit_is_visible(unit) || !unit_has_detail(unit))
				continue;
			for (uint32_t k = 0; k < unit->shares_count; k++)
				if (unit->shares[k].section == section)
					series |= unit->shares[k].series;
		}
	}
	return series;
}

bool model_is_scanned(struct model *model, uint32_t section)
{
	bool is_scanned = model->sections[section].is_open;
	for (uint32_t i = 0; i < model->windows_count; i++) {
		const struct model_window *window = model->windows[i];
		for (uint32_t j = 0; j < window->sections_count && window->name.level == 0; j++)
			is_scanned |= window->sections[j] == section && !window->is_hidden;
	}
	return is_scanned && model->sections[section].is_there;
}

void model_ends(struct model *model, uint64_t *ret_first_ns, uint64_t *ret_last_ns)
{
	uint64_t first = UINT64_MAX;
	uint64_t last = 0;
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++) {
		const struct model_section *section = &model->sections[i];
		if (!section->is_there || !section->is_open)
			continue;
		first = section->start_ns < first ? section->start_ns : first;
		last = section->start_ns > last ? section->start_ns : last;
	}
	for (uint32_t i = 0; i < model->windows_count; i++) {
		const struct model_window *window = model->windows[i];
		first = window->first_ns < first ? window->first_ns : first;
		last = window->last_ns > last ? window->last_ns : last;
	}
	*ret_first_ns = first == UINT64_MAX ? 0 : first;
	*ret_last_ns = last;
}

static const char *time_text(uint64_t ns, char text[static 24])
{
	snprintf(text, 24, "%" PRIu64, ns / SECOND % 1000000);
	return text;
}

void model_print(const struct model *model)
{
	char from[24];
	char to[24];
	for (uint32_t i = 0; i < model->windows_count; i++) {
		const struct model_window *window = model->windows[i];
		print_message(
		        "level %u %s..%s number %u, generation %u, %u sections, %u sources%s\n",
		        window->name.level, time_text(window->name.from_ns, from),
		        time_text(window->name.to_ns, to), window->name.number, window->generation,
		        window->sections_count, window->sources_count,
		        window->is_hidden ? ", hidden" : "");
		for (uint32_t j = 0; j < window->sources_count; j++)
			print_message("  from level %u %s..%s number %u\n",
			        window->sources[j].level,
			        time_text(window->sources[j].from_ns, from),
			        time_text(window->sources[j].to_ns, to), window->sources[j].number);
		for (uint32_t j = 0; j < window->units_count; j++) {
			const struct model_unit *unit = &window->units[j];
			print_message("  unit %u: service %u, class %u, series %" PRIx32
			              ", parts %u, hidden %u%s%s\n",
			        unit->number, unit->service, unit->class, model_unit_series(unit),
			        unit->parts, unit->hidden, unit->is_gone ? ", gone" : "",
			        unit->is_void ? ", void" : "");
		}
	}
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++)
		if (model->sections[i].is_there && model->sections[i].is_open)
			print_message("open %s: series %" PRIx32 ", generation %u\n",
			        time_text(model->sections[i].start_ns, from),
			        model->sections[i].open, model->sections[i].generation);
}
