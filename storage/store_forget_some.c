/*
 * Deletion on request, of a tenant, a service, a type or the series of a selector:
 *
 *	open      batches in the range are written again without it
 *	look      windows of every level: units that are all of it are named; units that also have
 *	          other series are parted first, where they have detail
 *	hide      what is named becomes a run; rollups that mix it with others and can be made again
 *	          are dropped
 *	erase     at once, where no run was asked for
 *
 * Everything up to hiding is done without letting a seal or a rollup in between, which would carry
 * it to where nobody looks any more. What is appended meanwhile is new, and stays.
 *
 * Killed in between, batches may have lost it and windows not yet, or a run without a number that
 * anybody asked for is left, which is due: to ask again does the rest.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/store_expire_private.h"
#include "storage/store_expire_ranges_private.h"
#include "storage/store_seal_private.h"

#define FORGET_STRETCH_BYTES (1u << 20)
#define FORGET_ATTEMPTS      3

struct forgetting {
	struct store *store;
	const struct store_forget_options *options;
	struct sealed sealed;
	struct buf items;       /* struct store_expire_item */
	struct buf rollups;     /* struct key_window: to be made anew */
	struct buf generations; /* u32: that have names of it */
	struct store_forgotten forgotten;
	uint64_t window_from_ns, window_to_ns; /* of what is looked at */
	struct expire_pass pass;

	/* Of open batches. */
	struct batch *batch; /* over the dict of this generation, as is the next */
	struct batch *kept;
	uint32_t generation;
	struct generation *pinned; /* likewise */
	struct buf scratch;
	struct buf value;
	struct kv_batch *write;
	uint64_t stretch_bytes;
};

static bool forgetting_is_cancelled(const struct forgetting *forgetting)
{
	const bool *cancelled = forgetting->options->cancelled;
	return cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED);
}

/* Is all of a tenant to go, or only some of it? */
static bool forgetting_is_of_all(const struct store_forget_options *options)
{
	return !options->service && !options->type && !options->selector;
}

static bool forgetting_wants_tenant(const struct store_forget_options *options, const char *tenant)
{
	return !options->tenant || strcmp(options->tenant, tenant) == 0;
}

/* Is it asked for, held or not? */
static bool forgetting_matches(const struct store_forget_options *options, const char *tenant,
        const struct dict *dict, uint32_t series)
{
	if (!forgetting_wants_tenant(options, tenant))
		return false;
	if (options->type &&
	        strcmp(options->type, dict_text(dict, dict_get_series(dict, series)->type)) != 0)
		return false;
	if (options->service) {
		struct sum_labels labels = sum_labels_find(dict);
		uint32_t service = sum_labels_service(&labels, dict, series);
		if (strcmp(options->service, dict_text(dict, service)) != 0)
			return false;
	}
	return !options->selector || selector_matches_of(options->selector, tenant, dict, series);
}

enum forgetting_fate { FORGETTING_STAYS, FORGETTING_HELD, FORGETTING_GOES };

static enum forgetting_fate forgetting_fate(const struct forgetting *forgetting, const char *tenant,
        const struct dict *dict, uint32_t series)
{
	const struct store_forget_options *options = forgetting->options;
	if (!forgetting_matches(options, tenant, dict, series))
		return FORGETTING_STAYS;
	bool is_held = options->is_held &&
	               options->is_held(options->held_owner, tenant, dict, series,
	                       forgetting->window_from_ns, forgetting->window_to_ns);
	return is_held ? FORGETTING_HELD : FORGETTING_GOES;
}

static bool forgetting_wants_series(const struct forgetting *forgetting, const char *tenant,
        const struct dict *dict, uint32_t series)
{
	return forgetting_fate(forgetting, tenant, dict, series) == FORGETTING_GOES;
}

static uint32_t forgetting_classify(
        void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	return forgetting_wants_series(owner, tenant, dict, series);
}

static void forgetting_note_generation(struct forgetting *forgetting, uint32_t id)
{
	const uint32_t *ids = ARRAY(uint32_t, forgetting->generations);
	size_t count = ARRAY_COUNT(uint32_t, forgetting->generations);
	for (size_t i = count; i-- > 0;)
		if (ids[i] == id)
			return;
	buf_put(&forgetting->generations, &id, sizeof(id));
	forgetting->forgotten.generations = (uint32_t)count + 1;
}

/* ---- open batches ---- */

static int forgetting_begin_batch(struct forgetting *forgetting, uint32_t id)
{
	struct generation *generation;
	int r = store_use_generation(forgetting->store, id, &generation);
	if (r < 0)
		return r == -ENOENT ? -EBADMSG : r;
	if (!forgetting->batch || forgetting->generation != id) {
		batch_free(forgetting->batch);
		batch_free(forgetting->kept);
		forgetting->batch = batch_new(generation->dict);
		forgetting->kept = batch_new(generation->dict);
		forgetting->generation = id;
		store_repin(forgetting->store, &forgetting->pinned, generation);
		if (!forgetting->batch || !forgetting->kept)
			return -ENOMEM;
	}
	batch_reset(forgetting->batch);
	batch_reset(forgetting->kept);
	return 0;
}

/* What a batch is filtered by, and what came of it. */
struct forgetting_filter {
	const char *tenant;
	uint64_t rows; /* that go */
	bool has_any;  /* something goes, */
	bool has_held; /* and something that was asked for stays */
};

static bool forgetting_filter_goes(
        const struct forgetting *forgetting, struct forgetting_filter *filter, uint32_t series)
{
	enum forgetting_fate fate = forgetting_fate(
	        forgetting, filter->tenant, forgetting->batch->dict, series);
	filter->has_any |= fate == FORGETTING_GOES;
	filter->has_held |= fate == FORGETTING_HELD;
	return fate == FORGETTING_GOES;
}

/* Copies the rows that stay. */
static int forgetting_filter_rows(struct forgetting *forgetting, struct forgetting_filter *filter)
{
	const struct batch *from = forgetting->batch;
	uint32_t known = SERIES_NONE;
	enum forgetting_fate fate = FORGETTING_STAYS;
	int r = 0;
	for (uint32_t i = 0; i < from->rows_count && r == 0; i++) {
		const struct row *row = &from->rows[i];
		if (row->series != known)
			fate = forgetting_fate(forgetting, filter->tenant, from->dict, row->series);
		known = row->series;
		filter->rows += fate == FORGETTING_GOES;
		filter->has_any |= fate == FORGETTING_GOES;
		filter->has_held |= fate == FORGETTING_HELD;
		forgetting->forgotten.open_rows_held += fate == FORGETTING_HELD;
		if (fate != FORGETTING_GOES)
			r = batch_add_row(forgetting->kept, row->series, row->node, row->value);
	}
	return r;
}

/* Copies what stays. */
static int forgetting_filter(struct forgetting *forgetting, struct forgetting_filter *filter)
{
	const struct batch *from = forgetting->batch;
	struct batch *to = forgetting->kept;
	to->start_ns = from->start_ns;
	to->duration_ns = from->duration_ns;
	int r = forgetting_filter_rows(forgetting, filter);
	for (uint32_t i = 0; i < from->coverage_count && r == 0; i++) {
		const struct coverage *coverage = &from->coverage[i];
		if (!forgetting_filter_goes(forgetting, filter, coverage->series))
			r = batch_add_coverage(to, coverage->series, coverage->ns);
	}
	for (uint32_t i = 0; i < from->losses_count && r == 0; i++) {
		const struct loss *loss = &from->losses[i];
		if (loss->series == SERIES_NONE ||
		        !forgetting_filter_goes(forgetting, filter, loss->series))
			r = batch_add_loss(to, loss->series, loss->reason, loss->count);
	}
	return r < 0 ? r : batch_settle(to);
}

static void forgetting_delete_batch(struct forgetting *forgetting, struct key_batch key)
{
	uint8_t from[KEYS_BATCH_BYTES];
	uint8_t to[KEYS_BATCH_BYTES];
	keys_put_batch(key, from);
	keys_put_batch(key_batch_next(key), to);
	kv_delete_range(forgetting->store->kv, forgetting->write, KV_BATCH,
	        (struct kv_bytes){ from, sizeof(from) }, (struct kv_bytes){ to, sizeof(to) });
}

/* One batch, in the writer. */
static int forgetting_batch(
        struct forgetting *forgetting, struct kv_bytes key_bytes, struct kv_bytes value)
{
	struct store *store = forgetting->store;
	struct store_forgotten *forgotten = &forgetting->forgotten;
	struct key_batch key;
	struct record_batch record;
	struct forgetting_filter filter = { 0 };
	int r = keys_get_batch(key_bytes.bytes, key_bytes.count, &key);
	r = r < 0 ? r : record_get_batch(key_bytes, value, &record);
	if (r == 0 && key.stream >= store->streams_count)
		r = -EBADMSG;
	if (r == 0)
		filter.tenant = store->tenants[store->streams[key.stream].tenant].name;
	if (r == 0 && !forgetting_wants_tenant(forgetting->options, filter.tenant))
		return 0;
	r = r < 0 ? r : forgetting_begin_batch(forgetting, record.generation);
	r = r < 0 ? r
	          : record_unpack_batch(
	                    &record, key.start_ns, &forgetting->scratch, forgetting->batch);
	if (r == -EBADMSG || r == -EPROTONOSUPPORT)
		return 0; /* what cannot be read is in no answer */
	forgetting->window_from_ns = key.start_ns - key.start_ns % store->options.window_ns;
	if (__builtin_add_overflow(forgetting->window_from_ns, store->options.window_ns,
	            &forgetting->window_to_ns))
		forgetting->window_to_ns = UINT64_MAX;
	r = r < 0 ? r : forgetting_filter(forgetting, &filter);
	bool is_all = forgetting_is_of_all(forgetting->options) && !filter.has_held;
	if (r < 0 || (!filter.has_any && !is_all))
		return r;
	forgetting_note_generation(forgetting, record.generation);
	uint64_t before = key_bytes.count + value.count;
	uint64_t after = 0;
	if (is_all) {
		forgetting_delete_batch(forgetting, key);
	} else {
		buf_reset(&forgetting->value);
		record_put_batch(forgetting->kept, record.generation, key_bytes,
		        &forgetting->scratch, &forgetting->value);
		if (forgetting->value.failed)
			return -ENOMEM;
		kv_put(store->kv, forgetting->write, KV_BATCH, key_bytes,
		        store_bytes(&forgetting->value));
		r = store_put_format_of(store, forgetting->kept, forgetting->write);
		if (r < 0)
			return r;
		after = key_bytes.count + forgetting->value.count;
	}
	forgetting->stretch_bytes += before;
	forgotten->open_batches++;
	forgotten->open_rows += filter.rows;
	forgotten->open_bytes += before > after ? before - after : 0;
	return 0;
}

/* Under writer. Moves `at`. */
static int forgetting_batches_stretch(
        struct forgetting *forgetting, struct key_batch *at, bool *ret_is_done)
{
	struct store *store = forgetting->store;
	uint8_t from[KEYS_BATCH_BYTES];
	uint8_t to[KEYS_TIME_BYTES];
	int r = store_make_writable(store);
	if (r < 0)
		return r;
	keys_put_batch(*at, from);
	keys_put_time(forgetting->options->to_ns, to);
	forgetting->stretch_bytes = 0;
	kv_batch_reset(forgetting->write);
	AUTO(kv_iterator) it = kv_iterator_new(store->kv, KV_BATCH,
	        (struct kv_bytes){ from, sizeof(from) }, (struct kv_bytes){ to, sizeof(to) });
	if (!it)
		return -ENOMEM;
	uint64_t read = 0;
	*ret_is_done = true;
	for (; kv_iterator_is_valid(it) && r == 0; kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct key_batch of;
		read += key.count + kv_iterator_value(it).count;
		r = forgetting_batch(forgetting, key, kv_iterator_value(it));
		if (r == 0 && read >= FORGET_STRETCH_BYTES &&
		        keys_get_batch(key.bytes, key.count, &of) == 0) {
			*at = key_batch_next(of);
			*ret_is_done = false;
			break;
		}
	}
	r = r < 0 ? r : kv_iterator_result(it);
	if (r < 0 || forgetting->stretch_bytes == 0 || forgetting->options->is_dry_run)
		return r;
	store_note_deleted(store);
	gate_lock(&store->gate);
	head_sums_drop(&store->head_sums, forgetting->options->from_ns, forgetting->options->to_ns);
	r = store_write(store, forgetting->write, KV_SYNC, "deleting from open batches");
	gate_unlock(&store->gate);
	return r;
}

static int forgetting_batches(struct forgetting *forgetting)
{
	struct store *store = forgetting->store;
	struct key_batch at = { .start_ns = forgetting->options->from_ns };
	bool is_done = false;
	int r = 0;
	while (r == 0 && !is_done) {
		if (forgetting_is_cancelled(forgetting))
			return -ECANCELED;
		pthread_mutex_lock(&store->writer);
		r = forgetting_batches_stretch(forgetting, &at, &is_done);
		pthread_mutex_unlock(&store->writer);
	}
	if (r == 0 && forgetting->forgotten.open_batches > 0 && !forgetting->options->is_dry_run) {
		pthread_mutex_lock(&store->writer);
		r = store_load_ends(store);
		pthread_mutex_unlock(&store->writer);
	}
	return r;
}

/* ---- sealed windows ---- */

enum forgetting_share { FORGETTING_NONE, FORGETTING_SOME, FORGETTING_ALL };

/* By what the record says of a unit. In the gate. */
static bool forgetting_may_want_unit(const struct forgetting *forgetting, uint32_t unit)
{
	const struct store_forget_options *options = forgetting->options;
	const struct window *window = &forgetting->sealed.window;
	const struct window_unit *of = &window->units[unit];
	const struct dict *dict = sealed_dict(&forgetting->sealed);
	uint32_t strings = dict_mark(dict).strings;
	if (of->is_gone || !forgetting_wants_tenant(options, window->tenants[of->tenant]))
		return false;
	if (of->service >= strings || of->type >= strings)
		return false;
	struct selector_known known = { window->tenants[of->tenant], dict_text(dict, of->type),
		dict_text(dict, of->service), dict };
	if (options->selector && selector_judge(options->selector, known) == SELECTOR_NONE)
		return false;
	if (options->service && strcmp(options->service, dict_text(dict, of->service)) != 0)
		return false;
	return !options->type || strcmp(options->type, dict_text(dict, of->type)) == 0;
}

/* How much of a unit is to go: by its members, where a selector says more than the record. */
static int forgetting_share(struct forgetting *forgetting, uint32_t unit,
        enum forgetting_share *ret_share, uint64_t *ret_part, uint64_t *ret_whole)
{
	*ret_part = 1;
	*ret_whole = 1;
	*ret_share = FORGETTING_NONE;
	if (!forgetting_may_want_unit(forgetting, unit))
		return 0;
	*ret_share = FORGETTING_ALL;
	if (!forgetting->options->selector && !forgetting->options->is_held)
		return 0;
	const struct sealed *sealed = &forgetting->sealed;
	const char *tenant = sealed->window.tenants[sealed->window.units[unit].tenant];
	uint64_t wanted = 0;
	uint64_t held = 0;
	uint64_t count = 0;
	for (uint32_t chunk = 0; chunk < sealed_members_count(sealed, unit); chunk++) {
		struct detail_chunk members;
		struct detail_heads heads;
		int r = sealed_get_members(&forgetting->sealed, unit, chunk, &members, &heads);
		if (r < 0)
			return r;
		uint64_t of_chunk = (uint64_t)members.reports_count + members.losses_count;
		for (uint32_t i = 0; i < of_chunk; i++) {
			uint32_t series = i < members.reports_count
			                          ? heads.reports[i].series
			                          : heads.losses[i - members.reports_count].series;
			enum forgetting_fate fate = forgetting_fate(
			        forgetting, tenant, sealed_dict(sealed), series);
			wanted += fate == FORGETTING_GOES;
			held += fate == FORGETTING_HELD;
		}
		count += of_chunk;
	}
	forgetting->forgotten.units_held += held > 0;
	*ret_part = wanted;
	*ret_whole = count;
	*ret_share = wanted == 0       ? FORGETTING_NONE
	             : wanted == count ? FORGETTING_ALL
	                               : FORGETTING_SOME;
	return 0;
}

static void forgetting_name_unit(struct forgetting *forgetting, uint32_t unit)
{
	struct store_expire_item item = { expire_name(forgetting->sealed.key), unit,
		STORE_PART_ALL };
	forgetting_note_generation(forgetting, forgetting->sealed.generation->id);
	buf_put(&forgetting->items, &item, sizeof(item));
}

/* What would go, of a unit that has these parts and of which this share is to. */
static void forgetting_count(struct forgetting *forgetting, uint32_t number, uint32_t parts,
        uint64_t part, uint64_t whole)
{
	const struct window *window = &forgetting->sealed.window;
	const struct window_unit *unit = &window->units[number];
	struct store_expired *expired = &forgetting->forgotten.sealed;
	forgetting_note_generation(forgetting, forgetting->sealed.generation->id);
	double share = (double)part / (double)whole;
	expired->units[window->level]++;
	/* A unit says for ever how many rows it was made of: counted where they still are. */
	if (parts & STORE_PART_DETAIL) {
		expired->rows += (uint64_t)((double)unit->rows * share);
		expired->bytes_detail += (uint64_t)((double)unit->bytes_detail * share);
	}
	expired->bytes_sums += (uint64_t)((double)unit->bytes_sums * share);
}

/* A rollup whose sources are all there is dropped, and made again from what stays of them. */
static int forgetting_drop_rollup(struct forgetting *forgetting, bool *ret_has_dropped)
{
	struct store *store = forgetting->store;
	struct key_window key = forgetting->sealed.key;
	const struct window_entry *entry = window_list_get(
	        store_windows(store, key_window_level(key)), key);
	int r = entry ? expire_can_make_again(store, entry, NULL, ret_has_dropped) : 0;
	if (r == 0 && *ret_has_dropped)
		buf_put(&forgetting->rollups, &key, sizeof(key));
	return r;
}

/* A unit that cannot be told apart any more. */
static int forgetting_keep_unit(struct forgetting *forgetting, bool *has_dropped)
{
	if (*has_dropped)
		return 0;
	int r = forgetting_drop_rollup(forgetting, has_dropped);
	forgetting->forgotten.rollups_made += *has_dropped;
	forgetting->forgotten.units_mixed += !*has_dropped;
	return r;
}

/* Not by a run of the caller's, which is erased later and can be undone until then. */
static bool forgetting_is_at_once(const struct store_forget_options *options)
{
	return options->run.id == 0 && !options->is_dry_run;
}

/*
 * A unit that an earlier run hides is erased with that: what is to go at once goes before it, so
 * that nobody can bring it back.
 */
static void forgetting_take_hidden(
        struct forgetting *forgetting, uint32_t unit, enum forgetting_share share)
{
	if (share == FORGETTING_ALL && forgetting_is_at_once(forgetting->options))
		forgetting_name_unit(forgetting, unit);
	else
		forgetting->forgotten.units_hidden++;
}

/* Looks at the units of a window that lies in the range. In the gate. */
static int forgetting_look(struct forgetting *forgetting, bool is_parted, bool *ret_must_part)
{
	struct sealed *sealed = &forgetting->sealed;
	const bool is_dry_run = forgetting->options->is_dry_run;
	bool has_dropped = false;
	int r = 0;
	for (uint32_t i = 0; i < sealed->window.units_count && r == 0; i++) {
		enum forgetting_share share;
		uint64_t part, whole;
		uint32_t hidden = expiry_parts(&forgetting->store->expiry, sealed->key, i);
		uint32_t there = expire_parts_there(&sealed->window, i);
		r = forgetting_share(forgetting, i, &share, &part, &whole);
		if (sealed_is_corrupt(sealed, r)) {
			forgetting->forgotten.units_mixed++; /* nobody knows who is in it */
			r = 0;
			continue;
		}
		if (r < 0 || share == FORGETTING_NONE)
			continue;
		if (hidden & STORE_PART_SUMS) {
			forgetting_take_hidden(forgetting, i, share);
			continue;
		}
		bool can_part = there & STORE_PART_DETAIL && !hidden && !is_parted;
		if (share == FORGETTING_SOME && can_part && !is_dry_run)
			*ret_must_part = true;
		else if (share == FORGETTING_SOME && !can_part)
			r = forgetting_keep_unit(forgetting, &has_dropped);
		else if (is_dry_run)
			forgetting_count(forgetting, i, there & ~hidden, part, whole);
		else
			forgetting_name_unit(forgetting, i);
		if (share == FORGETTING_SOME && can_part && is_dry_run)
			forgetting->forgotten.units_parted++;
	}
	return r;
}

/* Has a window that the range cuts any of it, as far as its record says? In the gate. */
static void forgetting_look_at_cut(struct forgetting *forgetting)
{
	for (uint32_t i = 0; i < forgetting->sealed.window.units_count; i++) {
		if (!forgetting_may_want_unit(forgetting, i))
			continue;
		forgetting->forgotten.windows_cut++;
		return;
	}
}

static int forgetting_open(
        struct forgetting *forgetting, struct key_window key, const struct window_entry **ret_entry)
{
	struct store *store = forgetting->store;
	*ret_entry = window_list_get(store_windows(store, key_window_level(key)), key);
	int r = *ret_entry ? sealed_open(&forgetting->sealed, *ret_entry) : -ENOENT;
	r = r < 0 ? r : sealed_load_dict(&forgetting->sealed);
	return r < 0 ? r : expire_measure(store, key, &forgetting->sealed.window);
}

static int forgetting_window(struct forgetting *forgetting, struct key_window key)
{
	struct store *store = forgetting->store;
	const struct store_forget_options *options = forgetting->options;
	const struct window_entry *entry;
	struct store_resealed resealed = { 0 };
	bool must_part = false;
	gate_enter(&store->gate);
	size_t named = forgetting->items.count;
	struct store_forgotten before = forgetting->forgotten;
	forgetting->window_from_ns = key.from_ns;
	forgetting->window_to_ns = key.to_ns;
	int r = forgetting_open(forgetting, key, &entry);
	bool is_cut = key.from_ns < options->from_ns || key.to_ns > options->to_ns;
	if (r == 0 && is_cut)
		forgetting_look_at_cut(forgetting);
	else if (r == 0)
		r = forgetting_look(forgetting, false, &must_part);
	gate_leave(&store->gate);
	if (sealed_is_corrupt(&forgetting->sealed, r)) {
		forgetting->forgotten.units_mixed++;
		return 0;
	}
	if (r < 0 || !must_part)
		return r;

	/* All of it is looked at once more, when it is parted. */
	forgetting->items.count = named;
	before.generations = forgetting->forgotten.generations;
	forgetting->forgotten = before;
	r = expire_part(store, &forgetting->sealed, forgetting_classify, forgetting, &resealed);
	if (r < 0)
		return r;
	forgetting->forgotten.units_parted += resealed.units_parted;
	gate_enter(&store->gate);
	r = forgetting_open(forgetting, key, &entry);
	r = r < 0 ? r : forgetting_look(forgetting, true, &must_part);
	gate_leave(&store->gate);
	return r;
}

/* Windows of a level do not change meanwhile: the caller has `sealing`. But whoever opens kv again
 * makes the list anew. */
static bool forgetting_next(
        struct forgetting *forgetting, uint32_t level, uint32_t index, struct key_window *ret_key)
{
	struct store *store = forgetting->store;
	gate_enter(&store->gate);
	const struct window_list *list = store_windows(store, level);
	bool has = index < list->count;
	if (has)
		*ret_key = list->entries[index].key;
	gate_leave(&store->gate);
	return has;
}

static int forgetting_level(struct forgetting *forgetting, uint32_t level)
{
	const struct store_forget_options *options = forgetting->options;
	struct key_window key;
	int r = 0;
	for (uint32_t i = 0; r == 0 && forgetting_next(forgetting, level, i, &key); i++) {
		expire_pass_step(&forgetting->pass);
		if (key.from_ns >= options->to_ns || key.to_ns <= options->from_ns)
			continue;
		if (forgetting_is_cancelled(forgetting))
			return -ECANCELED;
		r = -EAGAIN;
		for (int attempt = 0; attempt < FORGET_ATTEMPTS && r == -EAGAIN; attempt++)
			r = forgetting_window(forgetting, key);
	}
	return r;
}

/* ---- the end of it ---- */

/* Under writer. */
static int forgetting_drop_rollups(struct forgetting *forgetting)
{
	struct store *store = forgetting->store;
	const struct key_window *keys = ARRAY(struct key_window, forgetting->rollups);
	size_t count = ARRAY_COUNT(struct key_window, forgetting->rollups);
	int r = store_make_writable(store);
	kv_batch_reset(forgetting->write);
	for (size_t i = 0; i < count && r == 0; i++)
		expire_delete_record(store, forgetting->write, keys[i]);
	gate_lock(&store->gate);
	r = r < 0 ? r : store_write(store, forgetting->write, KV_SYNC, "dropping rollups");
	for (size_t i = 0; i < count && r == 0; i++)
		store_remove_window(store, keys[i]);
	gate_unlock(&store->gate);
	return r;
}

static int forgetting_reclaim_rollups(struct forgetting *forgetting)
{
	struct store *store = forgetting->store;
	AUTO_BUF ranges = { 0 };
	expire_put_apart(store, &ranges, &forgetting->rollups);
	return expire_reclaim(store, &ranges);
}

/* The run that hides it: the caller's, or one of our own that nobody else has. */
static struct store_run forgetting_run(const struct forgetting *forgetting)
{
	struct store_run run = forgetting->options->run;
	if (run.id != 0)
		return run;
	run.id = UINT64_MAX;
	gate_enter(&forgetting->store->gate);
	while (expiry_find(&forgetting->store->expiry, run.id))
		run.id--;
	gate_leave(&forgetting->store->gate);
	run.hidden_ns = clock_unix_ns(forgetting->store->clock);
	run.erase_ns = run.hidden_ns;
	return run;
}

static int forgetting_hide(struct forgetting *forgetting, const struct store_run *run)
{
	struct store *store = forgetting->store;
	size_t count = ARRAY_COUNT(struct store_expire_item, forgetting->items);
	int r = forgetting->items.failed || forgetting->rollups.failed ||
	                        forgetting->generations.failed
	                ? -ENOMEM
	                : 0;
	if (r == 0 && count > STORE_RUN_ITEMS_MAX)
		r = -E2BIG;
	if (r == 0 && count > 0)
		r = expire_hide(store, run, ARRAY(struct store_expire_item, forgetting->items),
		        (uint32_t)count, forgetting_is_at_once(forgetting->options),
		        &forgetting->forgotten.sealed);
	if (r < 0 || forgetting->rollups.count == 0)
		return r;
	pthread_mutex_lock(&store->writer);
	r = forgetting_drop_rollups(forgetting);
	pthread_mutex_unlock(&store->writer);
	return r < 0 ? r : forgetting_reclaim_rollups(forgetting);
}

static int forgetting_go(struct forgetting *forgetting, struct store_run *ret_run)
{
	const struct store_forget_options *options = forgetting->options;
	int r = 0;
	gate_enter(&forgetting->store->gate);
	if (options->run.id != 0 && expiry_find(&forgetting->store->expiry, options->run.id))
		r = -EEXIST;
	gate_leave(&forgetting->store->gate);
	if (r < 0)
		return r;
	*ret_run = forgetting_run(forgetting);
	forgetting->pass = expire_pass_begin(forgetting->store, options->pass);
	r = forgetting_batches(forgetting);
	for (uint32_t level = 0; level < WINDOW_LEVELS && r == 0; level++)
		r = forgetting_level(forgetting, level);
	return r < 0 || options->is_dry_run ? r : forgetting_hide(forgetting, ret_run);
}

static void forgetting_fini(struct forgetting *forgetting)
{
	sealed_fini(&forgetting->sealed);
	buf_fini(&forgetting->items);
	buf_fini(&forgetting->rollups);
	buf_fini(&forgetting->generations);
	batch_free(forgetting->batch);
	batch_free(forgetting->kept);
	store_repin(forgetting->store, &forgetting->pinned, NULL);
	buf_fini(&forgetting->scratch);
	buf_fini(&forgetting->value);
	kv_batch_free(forgetting->write);
}

int store_forget(struct store *store, const struct store_forget_options *options,
        struct store_forgotten *ret_forgotten)
{
	struct forgetting forgetting = { .store = store, .options = options };
	struct store_run run;
	struct store_expired expired;
	if (options->from_ns >= options->to_ns ||
	        (!options->tenant && forgetting_is_of_all(options)))
		return -EINVAL;
	int r = sealed_init(&forgetting.sealed, store);
	forgetting.sealed.sees_hidden = true;
	forgetting.write = kv_batch_new();
	if (r == 0 && !forgetting.write)
		r = -ENOMEM;
	if (r == 0) {
		turn_lock_enter(&store->sealing);
		r = forgetting_go(&forgetting, &run);
		turn_lock_leave(&store->sealing);
	}
	if (r == 0 && options->run.id == 0 && !options->is_dry_run) {
		r = store_erase(store, run.id, options->cancelled, &expired);
		r = r == -ENOENT ? 0 : r; /* there was nothing to hide */
	}
	if (r == 0)
		*ret_forgotten = forgetting.forgotten;
	forgetting_fini(&forgetting);
	return r;
}
