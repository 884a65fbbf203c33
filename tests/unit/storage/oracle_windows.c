/*
 * Steps that make windows: appending, sealing, sums of what is open, rolling up. What the store
 * made of what it had is learned from its inventory, and checked to be all that should be in it.
 */

#include "tests/unit/storage/oracle_program.h"

#define NEW_MAX 1024

/* ---- appending ---- */

static struct store_append program_section(
        struct program *program, uint32_t index, const struct model_section *section)
{
	struct source *source = &program->sources[index];
	source_begin(source, section->start_ns, section->duration_ns);
	for (uint32_t i = 0; i < section->rows_count; i++)
		CHECK_OK(batch_add_row(source->batch,
		        oracle_make_series(source, section->rows[i].series),
		        oracle_make_stack(source, section->rows[i].function),
		        section->rows[i].value));
	for (uint32_t s = 0; s < MODEL_SERIES; s++) {
		if (section->coverage_ns[s])
			CHECK_OK(batch_add_coverage(source->batch, oracle_make_series(source, s),
			        section->coverage_ns[s]));
		if (section->lost[s])
			CHECK_OK(batch_add_loss(source->batch, oracle_make_series(source, s),
			        LOSS_RING_FULL, section->lost[s]));
		if (model_folded(section, s))
			CHECK_OK(batch_add_loss(source->batch, oracle_make_series(source, s),
			        LOSS_FOLDED, model_folded(section, s)));
	}
	if (section->lost_of_none)
		CHECK_OK(batch_add_loss(
		        source->batch, SERIES_NONE, LOSS_PERF_LOST, section->lost_of_none));
	source->stream.uuid.bytes[0] = (uint8_t)section->observer;
	source->stream.epoch = section->epoch;
	source->stream.shard = (uint16_t)section->shard;
	struct store_append append = source_section(source, section->seq);
	append.refuse_late = true;
	return append;
}

/* The generation that appends go to, as something just went there. */
static uint32_t program_generation(struct program *program, uint64_t start_ns)
{
	AUTO(store_match) match = store_fixture_find(program->store, "{}", start_ns, start_ns + 1);
	uint32_t generation = UINT32_MAX;
	store_read_lock(program->store);
	for (uint32_t i = 0; i < match->parts_count; i++)
		if (match->parts[i].dict == store_dict(program->store))
			generation = match->parts[i].generation;
	store_read_unlock(program->store);
	CHECK(generation != UINT32_MAX);
	return generation;
}

static struct model_section *program_pick_section(struct program *program)
{
	struct model *model = program->model;
	/* One in three was sent before, kept or refused; of these some in this very group. */
	if (rng_below(&program->rng, 3) == 0) {
		struct model_section *old =
		        &model->sections[rng_below(&program->rng, MODEL_SECTIONS_MAX)];
		if (old->is_there)
			return old;
	}
	struct model_section *new = model_new_section(model, &program->rng, program_now(program));
	CHECK(new); /* program_step() saw to it */
	return new;
}

static void program_settle_append(
        struct program *program, struct model_section *section, const struct store_append *append)
{
	struct model *model = program->model;
	uint64_t end_ns = section->start_ns + section->duration_ns;
	uint64_t now_ns = program_now(program);
	bool is_late = end_ns < now_ns && now_ns - end_ns > LATE_MAX_S * SECOND;
	/* When nothing is left of a stream, what it sent is late instead of known. */
	if (is_late && append->ret_status == WIRE_REJECT) {
		model->counters.batches_late++;
		return;
	}
	assert_int_equal(append->ret_status, section->is_kept ? WIRE_DUP : WIRE_OK);
	CHECK(section->is_kept || !is_late);
	model->counters.batches_duplicate += section->is_kept;
	if (!section->is_kept)
		model_keep(model, section, program_generation(program, section->start_ns));
}

void program_append(struct program *program, enum failure failure)
{
	struct store_append appends[GROUP_MAX];
	struct model_section *sections[GROUP_MAX];
	uint32_t count = 1 + (uint32_t)rng_below(&program->rng, GROUP_MAX);
	int r;
	for (uint32_t i = 0; i < count; i++) {
		sections[i] = program_pick_section(program);
		appends[i] = program_section(program, i, sections[i]);
	}
	(void)program_fail(program, failure, 200);
	do {
		r = store_append(program->store, appends, count);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	for (uint32_t i = 0; i < count && r == 0; i++)
		program_settle_append(program, sections[i], &appends[i]);
}

/* ---- sealing ---- */

/* What a run speaks of is not given anew: it would be hidden from its beginning. */
static void program_check_number(struct program *program, const struct store_window_name *name)
{
	for (uint32_t i = 0; i < MODEL_RUNS_MAX; i++)
		CHECK(!program->model->runs[i].id ||
		        !model_run_names(&program->model->runs[i], name));
}

/* What was open in the window's time is in it now, each series in one of its units. */
static void program_take_sealed_window(
        struct program *program, const struct store_window_name *name, uint32_t generation)
{
	struct model *model = program->model;
	struct model_window *window = model_add(model, name);
	uint32_t taken[MODEL_SECTIONS_MAX] = { 0 };
	program_check_number(program, name);
	window->generation = generation;
	window->made_ns = program_now(program);
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++) {
		const struct model_section *section = &model->sections[i];
		if (section->is_there && section->is_open && section->generation == generation &&
		        section->start_ns >= name->from_ns && section->start_ns < name->to_ns)
			model_put_section(window, i);
	}
	for (uint32_t j = 0; j < window->sections_count; j++)
		model_note_ends(window, model->sections[window->sections[j]].start_ns,
		        model->sections[window->sections[j]].start_ns);
	for (uint32_t i = 0; i < program->told_count; i++) {
		const struct told *told = &program->told[i];
		if (!model_is_same(&told->window, name))
			continue;
		assert_int_equal(told->batches, window->sections_count);
		window->batches = told->batches;
		if (told->unit == STORE_UNIT_NONE)
			continue;
		struct model_unit *unit = program_add_told(window, told);
		for (uint32_t s = 0; s < MODEL_SERIES; s++)
			CHECK(!(told->series >> s & 1) ||
			        oracle_class_of(s, program->divisor) == told->class);
		for (uint32_t j = 0; j < window->sections_count; j++) {
			uint32_t number = window->sections[j];
			uint32_t series = model->sections[number].open & told->series;
			CHECK(!(taken[number] & series));
			taken[number] |= series;
			if (series)
				model_put_share(unit, number, series);
		}
	}
	for (uint32_t j = 0; j < window->sections_count; j++) {
		struct model_section *section = &model->sections[window->sections[j]];
		assert_int_equal(taken[window->sections[j]], section->open);
		section->is_open = false;
		section->open = 0;
	}
}

/* The windows of a level that the model does not have, each once. */
static uint32_t program_find_new(struct program *program, uint32_t level, struct told new[NEW_MAX])
{
	uint32_t count = 0;
	program_look(program, 0, 0, false);
	for (uint32_t i = 0; i < program->told_count; i++) {
		const struct told *told = &program->told[i];
		if (told->window.level != level || model_find(program->model, &told->window) ||
		        (count > 0 && model_is_same(&new[count - 1].window, &told->window)))
			continue;
		assert_true(count < NEW_MAX);
		new[count++] = *told;
	}
	return count;
}

/* At the new window and what overlaps it. They are in order: those of one time are looked at once.
 */
static void program_look_at_new(struct program *program, const struct told *new, uint32_t i)
{
	const struct store_window_name *window = &new[i].window;
	if (i == 0 || new[i - 1].window.from_ns != window->from_ns ||
	        new[i - 1].window.to_ns != window->to_ns)
		program_look(program, window->from_ns, window->to_ns, true);
}

static void program_take_sealed(struct program *program)
{
	struct told new[NEW_MAX];
	uint32_t count = program_find_new(program, 0, new);
	for (uint32_t i = 0; i < count; i++) {
		program_look_at_new(program, new, i);
		program_take_sealed_window(program, &new[i].window, new[i].generation);
		program->reached->windows++;
	}
}

static uint64_t program_until(struct program *program)
{
	return rng_below(&program->rng, 4)
	               ? program_now(program) - rng_below(&program->rng, 200) * SECOND
	               : UINT64_MAX;
}

void program_seal(struct program *program)
{
	uint64_t until = program_until(program);
	enum failure failure = program_may_fail(program, 2000);
	int r;
	do {
		r = store_seal(program->store, until);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	program_take_sealed(program);
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX && failure == FAIL_NOT; i++)
		CHECK(!program->model->sections[i].is_there ||
		        !program->model->sections[i].is_open || until != UINT64_MAX);
}

/* ---- sums of what is open ---- */

void program_sum_heads(struct program *program)
{
	enum failure failure = program_may_fail(program, 300);
	struct store_size size;
	store_sum_heads(program->store);
	program_mend(program, failure);
	store_size_head_sums(program->store, &size);
	CHECK(size.head_sums_rows == 0 || size.head_sums_memory > 0);
}

void program_note_heads(struct program *program)
{
	struct store_size size;
	store_size_head_sums(program->store, &size);
	program->reached->heads_built += size.head_sums_built;
	program->reached->heads_used += size.head_sums_used;
	program->reached->heads_refused += size.head_sums_refused;
}

/* ---- rolling up ---- */

/* What goes into a rollup: what is in none yet, and rollups of the slot that it replaces. */
static bool program_is_replaced(
        struct program *program, const struct model_window *window, const struct told *new)
{
	for (uint32_t i = 0; i < MODEL_RUNS_MAX; i++)
		if (program->model->runs[i].id &&
		        model_run_names(&program->model->runs[i], &window->name))
			return false;
	return window->generation == new->generation && window->name.level == new->window.level &&
	       window->name.from_ns == new->window.from_ns &&
	       window->name.to_ns == new->window.to_ns &&
	       !model_is_same(&window->name, &new->window) &&
	       !model_is_taken(program->model, window);
}

static bool program_is_fresh(
        struct program *program, const struct model_window *window, const struct told *new)
{
	return window->generation == new->generation &&
	       window->name.level + 1 == new->window.level &&
	       window->name.from_ns >= new->window.from_ns &&
	       window->name.to_ns <= new->window.to_ns && !model_is_taken(program->model, window);
}

static void add_source(struct model_window *window, const struct store_window_name *source)
{
	if (model_has_source(window, source))
		return;
	assert_true(window->sources_count < MODEL_SOURCES_MAX);
	window->sources[window->sources_count++] = *source;
}

static bool goes_into(const struct model_unit *from, const struct model_unit *unit)
{
	return model_unit_is_visible(from) && from->class == unit->class &&
	       from->service == unit->service;
}

/* The place of a unit among all that go into a rollup, in order. */
struct part {
	uint32_t input;
	uint32_t unit;
};

/*
 * Adds the next of the inputs' units of that class and service, until there are as many rows as the
 * unit is told to have; the last unit has all that are left. Moves *at behind them.
 */
static void add_parts(struct model_unit *unit, struct model_window **inputs, uint32_t count,
        bool is_last, struct part *at)
{
	uint64_t rows = 0;
	for (; at->input < count; at->input++, at->unit = 0)
		for (; at->unit < inputs[at->input]->units_count; at->unit++) {
			const struct model_unit *from = &inputs[at->input]->units[at->unit];
			if (!goes_into(from, unit))
				continue;
			if (!is_last && rows == unit->rows && rows > 0)
				return;
			rows += from->rows;
			for (uint32_t k = 0; k < from->shares_count; k++)
				model_put_share(
				        unit, from->shares[k].section, from->shares[k].series);
		}
	assert_int_equal(rows, unit->rows);
}

static bool is_alike(const struct told *a, const struct told *b)
{
	return model_is_same(&a->window, &b->window) && a->class == b->class &&
	       a->service == b->service;
}

/* Units of one class and service follow each other, and share out the inputs in their order. */
static void program_share_out(struct program *program, struct model_window *window,
        struct model_window **inputs, uint32_t count)
{
	struct part at = { 0 };
	for (uint32_t i = 0; i < program->told_count; i++) {
		const struct told *told = &program->told[i];
		if (told->unit == STORE_UNIT_NONE || !model_is_same(&told->window, &window->name))
			continue;
		bool is_last = i + 1 == program->told_count || !is_alike(told, told + 1);
		struct model_unit *unit = program_add_told(window, told);
		add_parts(unit, inputs, count, is_last, &at);
		assert_int_equal(model_unit_series(unit), told->series);
		if (is_last)
			at = (struct part){ 0 };
	}
}

/* Every visible unit of every input is in one. */
static void check_shared_out(
        const struct model_window *window, struct model_window **inputs, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t j = 0; j < inputs[i]->units_count; j++) {
			const struct model_unit *from = &inputs[i]->units[j];
			bool is_in = !model_unit_is_visible(from);
			for (uint32_t k = 0; k < window->units_count; k++)
				is_in |= goes_into(from, &window->units[k]);
			CHECK(is_in);
		}
}

static int compare_windows(const void *a, const void *b)
{
	const struct store_window_name *x = &(*(struct model_window *const *)a)->name;
	const struct store_window_name *y = &(*(struct model_window *const *)b)->name;
	if (x->from_ns != y->from_ns)
		return x->from_ns < y->from_ns ? -1 : 1;
	if (x->to_ns != y->to_ns)
		return x->to_ns < y->to_ns ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* The first `replaced` of the inputs go, of the others it is made. */
static struct model_window *program_make_rollup(struct program *program, const struct told *new,
        struct model_window **inputs, uint32_t count, uint32_t replaced)
{
	struct model_window *window = model_add(program->model, &new->window);
	program_check_number(program, &new->window);
	window->generation = new->generation;
	window->made_ns = program_now(program);
	for (uint32_t i = 0; i < count; i++) {
		model_note_ends(window, inputs[i]->first_ns, inputs[i]->last_ns);
		window->batches += inputs[i]->batches;
		for (uint32_t j = 0; j < inputs[i]->sections_count && !inputs[i]->is_hidden; j++)
			model_put_section(window, inputs[i]->sections[j]);
		for (uint32_t j = 0; j < inputs[i]->sources_count; j++)
			add_source(window, &inputs[i]->sources[j]);
		if (i >= replaced)
			add_source(window, &inputs[i]->name);
	}
	assert_int_equal(window->batches, new->batches);
	program_share_out(program, window, inputs, count);
	check_shared_out(window, inputs, count);
	return window;
}

/* Rows and series that a new window is told to have are those that can be seen of this one. */
static bool program_is_told_alike(
        struct program *program, const struct model_window *window, const struct told *new)
{
	uint64_t rows = 0;
	uint32_t series = 0;
	for (uint32_t i = 0; i < program->told_count; i++) {
		const struct told *told = &program->told[i];
		if (told->unit == STORE_UNIT_NONE || !model_is_same(&told->window, &new->window))
			continue;
		rows += told->rows;
		series |= told->series;
	}
	for (uint32_t i = 0; i < window->units_count; i++)
		if (model_unit_is_visible(&window->units[i])) {
			rows -= window->units[i].rows;
			series &= ~model_unit_series(&window->units[i]);
		}
	return rows == 0 && series == 0;
}

/* What moved to a compact dictionary: it goes on in its own place, and what was made of it too. */
static struct model_window *program_find_moved(struct program *program, const struct told *new)
{
	for (uint32_t i = 0; i < program->model->windows_count; i++) {
		struct model_window *window = program->model->windows[i];
		if (new->generation >= MODEL_GENERATION_COMPACT &&
		        window->name.level == new->window.level &&
		        window->name.from_ns == new->window.from_ns &&
		        window->name.to_ns == new->window.to_ns &&
		        window->generation != new->generation && window->batches == new->batches &&
		        !program_is_told(program, &window->name) &&
		        program_is_told_alike(program, window, new))
			return window;
	}
	return NULL;
}

/* Moving comes after everything that is made in the same turn: until then it is of the old one. */
static void program_take_moved(
        struct program *program, struct model_window *from, const struct told *new)
{
	struct model *model = program->model;
	struct model_window *to = program_make_rollup(program, new, &from, 1, 1);
	to->made_ns = from->made_ns;
	to->generation = from->generation;
	to->moves_to = new->generation;
	/* What is gone of it is still to be missed. */
	for (uint32_t i = 0; i < from->units_count; i++)
		if (from->units[i].is_gone) {
			struct model_unit *gone = model_add_unit(
			        to, UINT32_MAX - 1000 - to->units_count);
			gone->service = from->units[i].service;
			gone->is_gone = true;
			gone->is_void = from->units[i].is_void;
		}
	for (uint32_t i = 0; i < model->windows_count; i++)
		for (uint32_t j = 0; j < model->windows[i]->sources_count; j++)
			if (model_is_same(&model->windows[i]->sources[j], &from->name))
				model->windows[i]->sources[j] = to->name;
	model_remove(model, from);
	program->reached->moved++;
}

static void program_end_moves(struct program *program)
{
	struct model *model = program->model;
	for (uint32_t i = 0; i < model->windows_count; i++) {
		struct model_window *window = model->windows[i];
		if (!window->moves_to)
			continue;
		window->generation = window->moves_to;
		window->moves_to = 0;
	}
}

/* What it is made of: what it replaces first. The number of all of them. */
static uint32_t program_list_inputs(struct program *program, const struct told *new,
        struct model_window **inputs, uint32_t *ret_replaced)
{
	struct model *model = program->model;
	uint32_t count = 0;
	for (uint32_t i = 0; i < model->windows_count; i++)
		if (program_is_replaced(program, model->windows[i], new))
			inputs[count++] = model->windows[i];
	*ret_replaced = count;
	for (uint32_t i = 0; i < model->windows_count; i++)
		if (program_is_fresh(program, model->windows[i], new))
			inputs[count++] = model->windows[i];
	qsort(inputs, *ret_replaced, sizeof(struct model_window *), compare_windows);
	qsort(inputs + *ret_replaced, count - *ret_replaced, sizeof(struct model_window *),
	        compare_windows);
	return count;
}

static bool has_batches(struct model_window **inputs, uint32_t count, uint64_t batches)
{
	for (uint32_t i = 0; i < count; i++)
		batches -= inputs[i]->batches;
	return batches == 0;
}

static void program_take_rollup(struct program *program, struct told new)
{
	struct model *model = program->model;
	struct model_window *inputs[MODEL_WINDOWS_MAX];
	struct model_window *moved = program_find_moved(program, &new);
	uint32_t generation = new.generation;
	uint32_t replaced;
	if (moved) {
		program_take_moved(program, moved, &new);
		return;
	}
	uint32_t count = program_list_inputs(program, &new, inputs, &replaced);
	/* One that was made, and moved in the same turn: of which generation was it? */
	for (uint32_t i = 0; i < model->windows_count && count == replaced; i++) {
		new.generation = model->windows[i]->generation;
		count = program_list_inputs(program, &new, inputs, &replaced);
		if (!has_batches(inputs, count, new.batches))
			count = replaced;
	}
	CHECK(count > replaced); /* a rollup is made of something */
	struct model_window *window = program_make_rollup(program, &new, inputs, count, replaced);
	if (new.generation != generation)
		window->moves_to = generation;
	for (uint32_t i = 0; i < replaced; i++)
		model_remove(model, inputs[i]);
}

/* Nothing that could have been rolled up by then was left. */
static void program_check_rolled(struct program *program, uint64_t until)
{
	for (uint32_t i = 0; i < program->model->windows_count; i++) {
		const struct model_window *window = program->model->windows[i];
		if (window->name.level == 2 || model_is_taken(program->model, window))
			continue;
		uint64_t length = program->roll_ns[window->name.level];
		uint64_t to_ns = window->name.from_ns - window->name.from_ns % length + length;
		CHECK(window->name.to_ns > to_ns || to_ns > until);
	}
}

void program_roll(struct program *program)
{
	uint64_t until = program_until(program);
	enum failure failure = program_may_fail(program, 2000);
	int r;
	do {
		r = store_roll(program->store, until);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	for (uint32_t level = 1; level < STORE_EXPIRE_LEVELS; level++) {
		struct told new[NEW_MAX];
		uint32_t count = program_find_new(program, level, new);
		for (uint32_t i = 0; i < count; i++) {
			program_look_at_new(program, new, i);
			program_take_rollup(program, new[i]);
			program->reached->rollups++;
		}
	}
	program_end_moves(program);
	model_settle_hidden(program->model);
	if (failure == FAIL_NOT)
		program_check_rolled(program, until);
}
