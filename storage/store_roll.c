/*
 * Rolling windows up: an hour from the sealed windows in it, a day from the hours in it.
 *
 *	choose    windows of the level below that lie in a slot and are in no rollup of it; the
 *	          rollup that is there already, if nothing was made of it, is one more source, and
 *	          goes when the new one comes
 *	write     blocks of all units and of who was watching, into files beside the database
 *	take in   the files become part of the database, where nobody looks
 *	commit    one synced write: the window's record, which lists all sources and makes the
 *	          blocks count, and the deletion of the rollup that it replaces
 *
 * Nothing below is removed: a reader takes the rollup or what it was made of, and knows by the list
 * what is in it. So a kill leaves a rollup done or not done, and what it left behind is swept when
 * the same slot is made again. A rollup that a day was made of stays as it is: what comes late gets
 * an hour of its own beside it, which is then added to the day.
 *
 * A day that has come to its age is made anew from itself, with addresses that are those of their
 * functions (store_roll_collapse.c); and so is what is left of an old generation of the dictionary,
 * over one that has no more than it needs (store_roll_move.c).
 *
 * A window that cannot be read is left out and goes on beside the rollup. Windows that do not lie
 * in one slot (their length does not divide an hour) stay as they are. A rollup whose sums pass 64
 * bits is not made.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "storage/store_roll_private.h"

#define ROLL_ATTEMPTS       3
#define ROLL_UNROLLABLE_MAX 256

static void roll_fini(struct roll *roll)
{
	for (uint32_t i = 0; i < roll->inputs_count; i++)
		sealed_fini(&roll->inputs[i].sealed);
	free(roll->inputs);
	free(roll->tenants);
	buf_fini(&roll->parts);
	buf_fini(&roll->units);
	buf_fini(&roll->block);
	buf_fini(&roll->group_values);
	column_scratch_fini(&roll->columns);
	kv_files_free(roll->files);
	roll_move_free(roll->move);
	store_repin(roll->store, &roll->pinned, NULL);
}

int roll_blame(struct roll *roll, const struct roll_input *input, int result)
{
	if (sealed_is_corrupt(&input->sealed, result)) {
		roll->damaged = input->key;
		roll->is_damaged = true;
	}
	return result;
}

/* ---- what is to be rolled up ---- */

bool store_is_rolled_up(struct store *store, struct key_window key)
{
	for (uint32_t level = key_window_level(key) + 1; level < WINDOW_LEVELS; level++) {
		const struct window_list *list = store_windows(store, level);
		uint64_t earliest = key.from_ns > list->longest_ns ? key.from_ns - list->longest_ns
		                                                   : 0;
		for (uint32_t i = window_list_behind(list, earliest);
		        i < list->count && list->entries[i].key.from_ns <= key.from_ns; i++)
			if (window_entry_has(&list->entries[i], key))
				return true;
	}
	return false;
}

bool roll_is_skipped(const struct store *store, struct key_window key)
{
	for (uint32_t i = 0; i < store->unrollable_count; i++)
		if (key_window_compare(store->unrollable[i], key) == 0)
			return true;
	return false;
}

/* Is it one that a rollup of [from_ns, to_ns) may be made of, and in none yet? */
static bool roll_is_fresh(
        struct store *store, const struct window_entry *entry, uint64_t from_ns, uint64_t to_ns)
{
	return entry->key.from_ns >= from_ns && entry->key.to_ns <= to_ns && !entry->is_corrupt &&
	       !roll_is_skipped(store, entry->key) && !store_is_rolled_up(store, entry->key);
}

/* One that is free, and that no run speaks of: what it names would be hidden from its beginning. */
static uint32_t roll_next_generation(
        const struct store *store, uint32_t level, uint64_t from_ns, uint64_t to_ns)
{
	struct key_window key = { from_ns, to_ns, 0 };
	key.generation = store_next_generation(store, level, from_ns, to_ns);
	return expiry_free_number(&store->expiry, key);
}

/* Rollups of the slot that nothing was made of: the new one has what they have. */
static void roll_choose_replaced(
        struct store *store, struct roll_choice *choice, bool *ret_must_wait)
{
	const struct window_list *list = store_windows(store, choice->level);
	uint64_t now_ns = clock_unix_ns(store->clock);
	for (uint32_t i = window_list_behind(list, choice->from_ns); i < list->count; i++) {
		const struct window_entry *entry = &list->entries[i];
		if (entry->key.from_ns != choice->from_ns)
			break;
		if (entry->key.to_ns != choice->to_ns || entry->dictionary != choice->dictionary ||
		        expiry_touches(&store->expiry, entry->key) ||
		        !roll_is_fresh(store, entry, choice->from_ns, choice->to_ns))
			continue;
		buf_put(&choice->keys, &entry->key, sizeof(entry->key));
		choice->replaced++;
		*ret_must_wait |= now_ns < entry->sealed_ns ||
		                  now_ns - entry->sealed_ns < store->options.late_ns;
	}
}

static void roll_choose_fresh(struct store *store, struct roll_choice *choice, uint32_t first)
{
	const struct window_list *list = store_windows(store, choice->level - 1);
	for (uint32_t i = first; i < list->count; i++) {
		const struct window_entry *entry = &list->entries[i];
		if (entry->key.from_ns >= choice->to_ns)
			break;
		if (entry->dictionary != choice->dictionary ||
		        !roll_is_fresh(store, entry, choice->from_ns, choice->to_ns))
			continue;
		buf_put(&choice->keys, &entry->key, sizeof(entry->key));
		choice->fresh++;
	}
}

/* Is a window of this end old enough for its addresses to become those of their functions? */
static bool roll_is_old(const struct store *store, uint32_t level, uint64_t to_ns)
{
	uint64_t after_ns = store->options.collapse_after_ns;
	uint64_t now_ns = clock_unix_ns(store->clock);
	return level == WINDOW_LEVELS - 1 && after_ns > 0 && now_ns > to_ns &&
	       now_ns - to_ns >= after_ns;
}

/* A day that has become old, to be made anew from itself. false: there is none. In the gate. */
static bool roll_choose_old(struct store *store, struct roll_choice *choice)
{
	uint32_t level = WINDOW_LEVELS - 1;
	const struct window_list *list = store_windows(store, level);
	for (uint32_t i = 0; i < list->count; i++) {
		const struct window_entry *entry = &list->entries[i];
		struct key_window key = entry->key;
		if (!roll_is_old(store, level, key.to_ns))
			continue;
		if (entry->is_collapsed || expiry_touches(&store->expiry, key) ||
		        !roll_is_fresh(store, entry, key.from_ns, key.to_ns))
			continue;
		*choice = (struct roll_choice){
			.level = level,
			.from_ns = key.from_ns,
			.to_ns = key.to_ns,
			.dictionary = entry->dictionary,
			.generation = roll_next_generation(store, level, key.from_ns, key.to_ns),
			.replaced = 1,
			.is_collapsed = true,
		};
		buf_put(&choice->keys, &key, sizeof(key));
		return true;
	}
	return false;
}

/*
 * The next slot that has something to roll up, from the window at *at of the level below on; *at is
 * moved behind it. false: there is none. In the gate.
 */
static bool roll_choose(struct store *store, uint32_t level, uint64_t until_ns, uint32_t *at,
        struct roll_choice *choice)
{
	const struct window_list *list = store_windows(store, level - 1);
	uint64_t length_ns = store->options.roll_ns[level - 1];
	for (; *at < list->count; (*at)++) {
		const struct window_entry *entry = &list->entries[*at];
		uint64_t from_ns = entry->key.from_ns - entry->key.from_ns % length_ns;
		uint64_t to_ns;
		if (__builtin_add_overflow(from_ns, length_ns, &to_ns) || to_ns > until_ns)
			return false;
		if (!roll_is_fresh(store, entry, from_ns, to_ns))
			continue;
		bool must_wait = false;
		choice->level = level;
		choice->from_ns = from_ns;
		choice->to_ns = to_ns;
		choice->dictionary = entry->dictionary;
		choice->replaced = 0;
		choice->fresh = 0;
		choice->generation = roll_next_generation(store, level, from_ns, to_ns);
		choice->is_collapsed = roll_is_old(store, level, to_ns);
		buf_reset(&choice->keys);
		roll_choose_replaced(store, choice, &must_wait);
		if (must_wait)
			continue;
		roll_choose_fresh(store, choice, *at);
		(*at)++;
		return true;
	}
	return false;
}

/* ---- opening ---- */

int roll_tenant(struct roll *roll, const char *name, uint32_t *ret_tenant)
{
	for (uint32_t i = 0; i < roll->tenants_count; i++) {
		if (strcmp(roll->tenants[i], name) == 0) {
			*ret_tenant = i;
			return 0;
		}
	}
	void *grown = realloc(roll->tenants, (roll->tenants_count + 1) * sizeof(*roll->tenants));
	if (!grown)
		return -ENOMEM;
	roll->tenants = grown;
	memset(roll->tenants[roll->tenants_count], 0, sizeof(*roll->tenants));
	memcpy(roll->tenants[roll->tenants_count], name, strlen(name));
	*ret_tenant = roll->tenants_count++;
	return 0;
}

static int roll_list_parts(struct roll *roll, uint32_t number)
{
	const struct sealed *sealed = &roll->inputs[number].sealed;
	for (uint32_t i = 0; i < sealed->window.units_count; i++) {
		const struct window_unit *unit = &sealed->window.units[i];
		struct roll_part part = {
			.class = unit->class,
			.service = unit->service,
			.type = unit->type,
			.input = number,
			.unit = i,
		};
		if (unit->is_gone)
			continue;
		int r = roll_tenant(roll, sealed->window.tenants[unit->tenant], &part.tenant);
		if (r < 0)
			return r;
		buf_put(&roll->parts, &part, sizeof(part));
	}
	return roll->parts.failed ? -ENOMEM : 0;
}

static int roll_compare_parts(const void *a, const void *b)
{
	const struct roll_part *x = a;
	const struct roll_part *y = b;
	int order = window_unit_compare(
	        (struct window_unit_name){ x->class, x->tenant, x->service, x->type },
	        (struct window_unit_name){ y->class, y->tenant, y->service, y->type });
	if (order != 0)
		return order;
	if (x->input != y->input)
		return x->input < y->input ? -1 : 1;
	return x->unit < y->unit ? -1 : x->unit > y->unit;
}

/* Opens the inputs and finds out which units there are. */
static int roll_open(struct roll *roll, const struct roll_choice *choice)
{
	const struct key_window *keys = ARRAY(struct key_window, choice->keys);
	uint32_t count = (uint32_t)ARRAY_COUNT(struct key_window, choice->keys);
	roll->inputs = calloc((size_t)count + 1, sizeof(*roll->inputs));
	if (!roll->inputs)
		return -ENOMEM;
	int r = 0;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		struct roll_input *input = &roll->inputs[i];
		struct window_entry entry = { .key = keys[i] };
		input->key = keys[i];
		r = sealed_init(&input->sealed, roll->store);
		roll->inputs_count++;
		if (r < 0)
			break;
		gate_enter(&roll->store->gate);
		r = sealed_open(&input->sealed, &entry);
		gate_leave(&roll->store->gate);
		r = r < 0 ? roll_blame(roll, input, r) : roll_list_parts(roll, i);
	}
	size_t parts = ARRAY_COUNT(struct roll_part, roll->parts);
	if (r == 0 && parts > 1)
		qsort(roll->parts.bytes, parts, sizeof(struct roll_part), roll_compare_parts);
	return r;
}

/* ---- the commit ---- */

static int roll_compare_keys(const void *a, const void *b)
{
	return key_window_compare(*(const struct key_window *)a, *(const struct key_window *)b);
}

/* What is below, and what that was made of; a rollup that is replaced only gives what it had. */
static int roll_list_sources(const struct roll *roll, struct window *window)
{
	AUTO_BUF sources = { 0 };
	for (uint32_t i = 0; i < roll->inputs_count; i++) {
		const struct window *from = &roll->inputs[i].sealed.window;
		if (i >= roll->replaced)
			buf_put(&sources, &roll->inputs[i].key, sizeof(roll->inputs[i].key));
		if (from->sources_count)
			buf_put(&sources, from->sources,
			        from->sources_count * sizeof(*from->sources));
	}
	size_t count = ARRAY_COUNT(struct key_window, sources);
	window->sources = malloc((count + 1) * sizeof(*window->sources));
	if (!window->sources || sources.failed)
		return -ENOMEM;
	struct key_window *all = ARRAY(struct key_window, sources);
	if (count > 1)
		qsort(all, count, sizeof(*all), roll_compare_keys);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || key_window_compare(all[i - 1], all[i]) != 0)
			window->sources[window->sources_count++] = all[i];
	return window->sources_count > WINDOW_SOURCES_MAX ? -E2BIG : 0;
}

/*
 * Now, but not before anything was hidden that it may lack for that: undoing tells by it which
 * rollups were made since, also when the clock was set back.
 */
static uint64_t roll_made_ns(struct store *store)
{
	uint64_t made_ns = clock_unix_ns(store->clock);
	gate_enter(&store->gate);
	for (uint32_t i = 0; i < store->expiry.runs_count; i++)
		if (store->expiry.runs[i].run.hidden_ns > made_ns)
			made_ns = store->expiry.runs[i].run.hidden_ns;
	gate_leave(&store->gate);
	return made_ns;
}

static int roll_describe(struct roll *roll, struct window *window)
{
	window->level = (uint8_t)key_window_level(roll->key);
	window->is_collapsed = roll->is_collapsed;
	window->dictionary = roll->move ? roll_move_dictionary(roll->move) : roll->dictionary;
	/* What is undone drops rollups that were made since: this one was made before. */
	window->sealed_ns = roll->is_made_anew ? roll->inputs[0].sealed.window.sealed_ns
	                                       : roll_made_ns(roll->store);
	window->watchers_chunks = roll->watchers_chunks;
	window->has_sizes = true;
	window->bytes_watchers = roll->bytes_watchers;
	window->first_ns = UINT64_MAX;
	for (uint32_t i = 0; i < roll->inputs_count; i++) {
		const struct window *from = &roll->inputs[i].sealed.window;
		window->first_ns = from->first_ns < window->first_ns ? from->first_ns
		                                                     : window->first_ns;
		window->last_ns = from->last_ns > window->last_ns ? from->last_ns : window->last_ns;
		if (__builtin_add_overflow(window->batches, from->batches, &window->batches))
			return -EOVERFLOW;
	}
	window->tenants = roll->tenants;
	window->tenants_count = roll->tenants_count;
	roll->tenants = NULL;
	roll->tenants_count = 0;
	window->units_count = (uint32_t)ARRAY_COUNT(struct window_unit, roll->units);
	window->units = malloc(((size_t)window->units_count + 1) * sizeof(*window->units));
	if (!window->units)
		return -ENOMEM;
	if (window->units_count)
		memcpy(window->units, roll->units.bytes,
		        window->units_count * sizeof(*window->units));
	return window->units_count > WINDOW_UNITS_MAX ? -E2BIG : roll_list_sources(roll, window);
}

/* Keys of a window, its record included, and of all its blocks. */
static void roll_bounds(
        struct key_window key, uint8_t from[KEYS_WINDOW_BYTES], uint8_t to[KEYS_BLOCK_BYTES + 1])
{
	struct key_block last = { key, UINT32_MAX, (enum keys_block_part)UINT8_MAX, UINT32_MAX };
	keys_put_window(key, from);
	keys_put_block(last, to);
	to[KEYS_BLOCK_BYTES] = 0;
}

static void roll_delete_window(struct store *store, struct kv_batch *write, struct key_window key)
{
	uint8_t from_bytes[KEYS_WINDOW_BYTES];
	uint8_t to_bytes[KEYS_BLOCK_BYTES + 1];
	struct kv_bytes from = { from_bytes, sizeof(from_bytes) };
	struct kv_bytes to = { to_bytes, sizeof(to_bytes) };
	roll_bounds(key, from_bytes, to_bytes);
	kv_delete_range(store->kv, write, KV_WINDOW, from, to);
	kv_delete_range(store->kv, write, store_sums_family(key), from, to);
}

/* Removes blocks that no record names, or the room of those that none does any more. */
static int roll_sweep(struct store *store, struct key_window key)
{
	uint8_t from_bytes[KEYS_WINDOW_BYTES];
	uint8_t to_bytes[KEYS_BLOCK_BYTES + 1];
	roll_bounds(key, from_bytes, to_bytes);
	gate_enter(&store->gate);
	int r = kv_reclaim(store->kv, store_sums_family(key),
	        (struct kv_bytes){ from_bytes, sizeof(from_bytes) },
	        (struct kv_bytes){ to_bytes, sizeof(to_bytes) });
	gate_leave(&store->gate);
	return r;
}

/* Under writer. -EAGAIN: the database was opened again meanwhile, and what was read is not sure. */
static int roll_take_blocks(struct roll *roll)
{
	struct store *store = roll->store;
	if (store->is_broken || store->reopens != roll->reopens)
		return -EAGAIN;
	int r = kv_files_take(roll->files);
	if (r < 0)
		store_write_failed(store, "rolling windows up");
	return r;
}

/* Under writer. */
static int roll_commit(struct roll *roll, struct window *window)
{
	struct store *store = roll->store;
	struct window_list *list = store_windows(store, window->level);
	struct window_entry entry = { .key = roll->key };
	AUTO(kv_batch) write = kv_batch_new();
	if (!write)
		return -ENOMEM;
	int r = roll->move && !roll_move_may_commit(roll->move) ? -EBUSY : roll_take_blocks(roll);
	r = r < 0 ? r : store_put_window(roll->store, roll->key, window, &roll->block, write);
	for (uint32_t i = 0; i < roll->replaced && r == 0; i++)
		roll_delete_window(store, write, roll->inputs[i].key);
	r = r < 0 ? r : store_put_format(store, write, STORE_FORMAT_VALUES);
	if (r == 0 && roll->move)
		r = roll_move_put(roll->move, window, write);
	if (r < 0)
		return r;

	gate_lock(&store->gate);
	r = window_list_reserve(list);
	if (r == 0 && roll->move && !roll_move_may_commit(roll->move))
		r = -EBUSY;
	r = r < 0 ? r : store_write(store, write, KV_SYNC, "rolling windows up");
	if (r == 0 && roll->move)
		roll_move_done(roll->move);
	if (r == 0) {
		store_note_format(store, STORE_FORMAT_VALUES);
		for (uint32_t i = 0; i < roll->replaced; i++)
			store_remove_window(store, roll->inputs[i].key);
		window_describe(window, &entry);
		window_list_add(list, entry);
	}
	gate_unlock(&store->gate);
	return r;
}

/* ---- one rollup ---- */

static int roll_begin(struct roll *roll, const struct roll_choice *choice)
{
	struct store *store = roll->store;
	pthread_mutex_lock(&store->writer);
	int r = store_make_writable(store);
	roll->reopens = store->reopens;
	if (r == 0 && choice->is_moved)
		r = roll_move_new(roll, choice, &roll->move);
	pthread_mutex_unlock(&store->writer);
	if (r < 0)
		return r;
	struct generation *generation = NULL;
	gate_enter(&store->gate);
	r = store_use_generation(store, roll->dictionary, &generation);
	if (r == 0) {
		store_repin(store, &roll->pinned, generation);
		roll->nodes_count = dict_mark(generation->dict).nodes;
	}
	gate_leave(&store->gate);
	if (r == -ENOENT || r == -EBADMSG || r == -EPROTONOSUPPORT)
		return -EOVERFLOW; /* damaged: what was chosen is left as it is */
	if (r < 0)
		return r;
	roll->files = kv_files_new(store->kv, store_sums_family(roll->key));
	return roll->files ? roll_sweep(store, roll->key) : -ENOMEM;
}

static int roll_cut_files(struct roll *roll)
{
	int r = kv_files_cut(roll->files);
	if (r < 0) {
		pthread_mutex_lock(&roll->store->writer);
		store_note_failure(roll->store, "rolling windows up");
		pthread_mutex_unlock(&roll->store->writer);
	}
	return r;
}

static int roll_run(struct roll *roll, const struct roll_choice *choice)
{
	AUTO_WINDOW window = { 0 };
	int r = roll_begin(roll, choice);
	r = r < 0 ? r : roll_open(roll, choice);
	r = r < 0 ? r : roll_write(roll);
	/* Before the writer is held, so that appends do not wait for the sync of the files. */
	r = r < 0 ? r : roll_cut_files(roll);
	r = r < 0 ? r : roll_describe(roll, &window);
	if (r < 0)
		return r;
	pthread_mutex_lock(&roll->store->writer);
	r = roll_commit(roll, &window);
	pthread_mutex_unlock(&roll->store->writer);
	/* Only for the room: they are deleted, and compaction gives it back as well. */
	for (uint32_t i = 0; i < roll->replaced && r == 0; i++)
		(void)roll_sweep(roll->store, roll->inputs[i].key);
	return r;
}

static void roll_set_unrollable(struct store *store, uint32_t count)
{
	__atomic_store_n(&store->unrollable_count, count, __ATOMIC_RELAXED);
}

uint64_t store_unrollable_count(const struct store *store)
{
	return __atomic_load_n(&store->unrollable_count, __ATOMIC_RELAXED);
}

void store_note_erased(struct store *store)
{
	roll_set_unrollable(store, 0);
}

/* So that it is not tried again and again; the next start, or erasing, tries once more. */
static int roll_note_unrollable(struct store *store, struct key_window key)
{
	if (!store->unrollable)
		store->unrollable = calloc(ROLL_UNROLLABLE_MAX, sizeof(*store->unrollable));
	if (!store->unrollable)
		return -ENOMEM;
	uint32_t at = store->unrollable_count % ROLL_UNROLLABLE_MAX;
	store->unrollable[at] = key;
	if (store->unrollable_count < ROLL_UNROLLABLE_MAX)
		roll_set_unrollable(store, store->unrollable_count + 1);
	return 0;
}

/*
 * 1: something is damaged or cannot be added, and is noted: choose again without it, it stays as it
 * is.
 */
static int roll_choice_run(struct store *store, const struct roll_choice *choice)
{
	const struct key_window *keys = ARRAY(struct key_window, choice->keys);
	struct roll roll = {
		.store = store,
		.key = { choice->from_ns, choice->to_ns, choice->generation },
		.dictionary = choice->dictionary,
		.replaced = choice->replaced,
		.is_collapsed = choice->is_collapsed,
		.is_only_to_collapse = choice->is_collapsed && choice->fresh == 0,
		.is_made_anew = choice->replaced == 1 && choice->fresh == 0,
	};
	int r = roll_run(&roll, choice);
	if (roll.is_damaged) {
		r = roll_note_unrollable(store, roll.damaged);
		r = r < 0 ? r : 1;
	} else if (r == -EOVERFLOW || r == -E2BIG) {
		r = choice->fresh == 0 ? roll_note_unrollable(store, keys[0]) : 0;
		for (uint32_t i = choice->replaced; i < choice->replaced + choice->fresh; i++)
			r = r < 0 ? r : roll_note_unrollable(store, keys[i]);
	}
	roll_fini(&roll);
	return r;
}

static int roll_level(struct store *store, uint32_t level, uint64_t until_ns)
{
	struct roll_choice choice = { 0 };
	uint32_t at = 0;
	uint32_t attempts = 0;
	int r = 0;
	while (r == 0) {
		uint32_t begin = at;
		gate_enter(&store->gate);
		bool is_found = roll_choose(store, level, until_ns, &at, &choice);
		gate_leave(&store->gate);
		if (choice.keys.failed)
			r = -ENOMEM;
		if (!is_found || r < 0)
			break;
		r = roll_choice_run(store, &choice);
		bool is_again = r == 1 ? store->unrollable_count < ROLL_UNROLLABLE_MAX
		                       : r == -EAGAIN && ++attempts < ROLL_ATTEMPTS;
		if (is_again)
			at = begin;
		if (is_again || r == 1)
			r = 0;
		/* Others may change the list: `at` is where to look next, not what is there. */
		turn_lock_pass(&store->sealing);
	}
	buf_fini(&choice.keys);
	return r;
}

/* One in each turn: whoever seals waits meanwhile. */
static int roll_one_old(struct store *store)
{
	struct roll_choice choice = { 0 };
	gate_enter(&store->gate);
	bool is_found = roll_choose_old(store, &choice);
	gate_leave(&store->gate);
	int r = choice.keys.failed ? -ENOMEM : 0;
	if (is_found && r == 0)
		r = roll_choice_run(store, &choice);
	buf_fini(&choice.keys);
	return r == 1 || r == -EAGAIN ? 0 : r; /* the next turn chooses again */
}

/* Likewise. */
static int roll_one_moved(struct store *store)
{
	struct roll_choice choice = { 0 };
	bool is_found = false;
	gate_enter(&store->gate);
	int r = roll_choose_moved(store, &choice, &is_found);
	gate_leave(&store->gate);
	if (is_found && r == 0)
		r = roll_choice_run(store, &choice);
	buf_fini(&choice.keys);
	return r == 1 || r == -EAGAIN || r == -EBUSY ? 0 : r;
}

int store_roll(struct store *store, uint64_t until_ns)
{
	int r = 0;
	turn_lock_enter(&store->sealing);
	for (uint32_t level = 1; level < WINDOW_LEVELS && r == 0; level++)
		r = roll_level(store, level, until_ns);
	r = r < 0 ? r : roll_one_old(store);
	r = r < 0 ? r : roll_one_moved(store);
	turn_lock_leave(&store->sealing);
	return r;
}
