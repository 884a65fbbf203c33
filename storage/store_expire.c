/*
 * What all of forgetting stands on: runs in memory and on the disk, windows by name, what a unit
 * of one weighs, and records as they are to be. The verbs are in store_hide.c, store_erase.c,
 * store_undo.c, store_forget_some.c and store_part.c.
 *
 * Hiding is one synced write: the run. Readers see it through sealed_open(), which leaves out what
 * is hidden, so nothing else changes.
 */

#include "storage/store_expire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "storage/store_expire_private.h"

/* ---- loading ---- */

static int expire_load_run(
        struct store *store, struct kv_bytes key, struct kv_bytes value, struct expiry *to)
{
	AUTO_EXPIRY_RUN run = { 0 };
	uint64_t id;
	int r = expiry_get_key(key.bytes, key.count, &id);
	r = r < 0 ? r : expiry_get_run(key, value, &run);
	if (r == -EBADMSG || r == -EPROTONOSUPPORT) {
		/* What it hid is to be seen again: nothing is lost by that. */
		store->corrupt++;
		store_note_unreadable(store, KV_EXPIRY, key, r);
		return 0;
	}
	run.run.id = r < 0 ? 0 : id;
	r = r < 0 ? r : expiry_reserve(to, run.items_count);
	if (r == 0)
		expiry_add(to, &run);
	return r;
}

static int expire_load_runs(struct store *store, struct expiry *to)
{
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_EXPIRY, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		int r = expire_load_run(store, kv_iterator_key(it), kv_iterator_value(it), to);
		if (r < 0)
			return r;
	}
	return kv_iterator_result(it);
}

/* On failure runs stay as they were: nothing is to be seen again until the next attempt. */
int store_load_expiry(struct store *store)
{
	struct expiry loaded = { 0 };
	int r = expire_load_runs(store, &loaded);
	if (r == 0) {
		struct expiry old = store->expiry;
		store->expiry = loaded;
		loaded = old;
	}
	expiry_fini(&loaded);
	return r;
}

/* ---- names and units ---- */

struct store_window_name expire_name(struct key_window key)
{
	return (struct store_window_name){
		.level = key_window_level(key),
		.number = key.generation & KEYS_GENERATION_MAX,
		.from_ns = key.from_ns,
		.to_ns = key.to_ns,
	};
}

int expire_key(struct store_window_name name, struct key_window *ret_key)
{
	if (name.level >= WINDOW_LEVELS || name.number > KEYS_GENERATION_MAX ||
	        name.from_ns >= name.to_ns)
		return -EINVAL;
	*ret_key = (struct key_window){
		.from_ns = name.from_ns,
		.to_ns = name.to_ns,
		.generation = name.level << KEYS_LEVEL_SHIFT | name.number,
	};
	return 0;
}

int expire_compare_windows(const void *a, const void *b)
{
	const struct key_window *x = a;
	const struct key_window *y = b;
	if (key_window_level(*x) != key_window_level(*y))
		return key_window_level(*x) < key_window_level(*y) ? -1 : 1;
	return key_window_compare(*x, *y);
}

int expire_compare_items(const void *a, const void *b)
{
	return expiry_item_compare(a, b);
}

uint32_t expire_parts_there(const struct window *window, uint32_t unit)
{
	const struct window_unit *of = &window->units[unit];
	if (of->is_gone)
		return 0;
	return STORE_PART_SUMS | (window->level == 0 && of->chunks > 0 ? STORE_PART_DETAIL : 0);
}

uint32_t expire_wants(const struct expiry_item *first, const struct expiry_item *end, uint32_t unit)
{
	uint32_t parts = 0;
	for (const struct expiry_item *item = first; item < end; item++)
		if (item->unit == unit || item->unit == KEYS_UNIT_NONE)
			parts |= item->parts;
	return parts;
}

void expire_count(
        const struct window *window, uint32_t unit, uint32_t parts, struct store_expired *expired)
{
	const struct window_unit *of = &window->units[unit];
	expired->units[window->level]++;
	if (parts & STORE_PART_DETAIL) {
		expired->rows += window->level == 0 ? of->rows : 0;
		expired->bytes_detail += of->bytes_detail;
	}
	if (parts & STORE_PART_SUMS)
		expired->bytes_sums += of->bytes_sums;
}

static int expire_measure_family(struct store *store, enum kv_family family, struct key_window key,
        uint32_t unit, uint64_t *ret_bytes)
{
	uint8_t from[KEYS_BLOCK_BYTES];
	uint8_t to[KEYS_BLOCK_BYTES];
	uint64_t bytes = 0;
	keys_put_block((struct key_block){ .window = key, .unit = unit }, from);
	keys_put_block((struct key_block){ .window = key, .unit = unit + 1 }, to);
	AUTO(kv_iterator) it = kv_iterator_new(store->kv, family,
	        (struct kv_bytes){ from, sizeof(from) }, (struct kv_bytes){ to, sizeof(to) });
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it))
		bytes += kv_iterator_key(it).count + kv_iterator_value(it).count;
	*ret_bytes = bytes;
	return kv_iterator_result(it);
}

int expire_measure(struct store *store, struct key_window key, struct window *window)
{
	int r = 0;
	if (window->has_sizes)
		return 0;
	for (uint32_t i = 0; i < window->units_count && r == 0; i++) {
		struct window_unit *unit = &window->units[i];
		r = expire_measure_family(store, store_sums_family(key), key, i, &unit->bytes_sums);
		if (r == 0 && window->level == 0)
			r = expire_measure_family(store, KV_DETAIL, key, i, &unit->bytes_detail);
	}
	window->has_sizes = true;
	return r;
}

/* ---- records ---- */

int expire_put_record(struct store *store, struct kv_batch *write, struct key_window key,
        const struct window *window)
{
	uint8_t key_bytes[KEYS_WINDOW_BYTES];
	struct kv_bytes at = { key_bytes, sizeof(key_bytes) };
	AUTO_BUF value = { 0 };
	keys_put_window(key, key_bytes);
	window_put(window, key, at, &value);
	if (value.failed)
		return -ENOMEM;
	kv_put(store->kv, write, KV_WINDOW, at, store_bytes(&value));
	return 0;
}

static void expire_delete_key(
        struct store *store, struct kv_batch *write, enum kv_family family, struct kv_bytes key)
{
	uint8_t after[KEYS_WINDOW_BYTES + 1] = { 0 };
	assert(key.count <= KEYS_WINDOW_BYTES);
	memcpy(after, key.bytes, key.count);
	kv_delete_range(store->kv, write, family, key, (struct kv_bytes){ after, key.count + 1 });
}

void expire_delete_record(struct store *store, struct kv_batch *write, struct key_window key)
{
	uint8_t key_bytes[KEYS_WINDOW_BYTES];
	keys_put_window(key, key_bytes);
	expire_delete_key(
	        store, write, KV_WINDOW, (struct kv_bytes){ key_bytes, sizeof(key_bytes) });
}

int expire_put_run(struct store *store, struct kv_batch *write, const struct expiry_run *run)
{
	uint8_t key_bytes[EXPIRY_KEY_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	AUTO_BUF value = { 0 };
	expiry_put_key(run->run.id, key_bytes);
	expiry_put_run(run, key, &value);
	if (value.failed)
		return -ENOMEM;
	kv_put(store->kv, write, KV_EXPIRY, key, store_bytes(&value));
	return 0;
}

static void expire_delete_run(struct store *store, struct kv_batch *write, uint64_t run_id)
{
	uint8_t key_bytes[EXPIRY_KEY_BYTES];
	expiry_put_key(run_id, key_bytes);
	expire_delete_key(
	        store, write, KV_EXPIRY, (struct kv_bytes){ key_bytes, sizeof(key_bytes) });
}

/* Under writer. */
int expire_remove_run(struct store *store, struct kv_batch *write, uint64_t run_id)
{
	expire_delete_run(store, write, run_id);
	gate_lock(&store->gate);
	int r = store_write(store, write, KV_SYNC, "ending what was hidden");
	if (r == 0)
		expiry_remove(&store->expiry, run_id);
	gate_unlock(&store->gate);
	return r;
}

int store_runs(struct store *store, int (*visit)(void *owner, const struct store_run_state *state),
        void *owner)
{
	int r = 0;
	gate_enter(&store->gate);
	for (uint32_t i = 0; i < store->expiry.runs_count && r == 0; i++) {
		const struct expiry_run *run = &store->expiry.runs[i];
		struct store_run_state state = { run->run, run->is_erasing, run->hidden };
		r = visit(owner, &state);
	}
	store_read_unlock(store);
	return r;
}

/* ---- classes ---- */

void store_set_has_expired(struct store *store, store_has_expired has_expired, void *owner)
{
	gate_lock(&store->gate);
	store->has_expired = has_expired;
	store->has_expired_owner = owner;
	gate_unlock(&store->gate);
}

void store_set_classify(struct store *store, store_classify classify, void *owner)
{
	gate_lock(&store->gate);
	store->classify = classify;
	store->classify_owner = owner;
	gate_unlock(&store->gate);
}

/* ---- how far a pass is ---- */

struct expire_pass expire_pass_begin(struct store *store, struct store_pass told)
{
	struct expire_pass pass = { .told = told };
	if (!told.at)
		return pass;
	gate_enter(&store->gate);
	for (uint32_t level = 0; level < WINDOW_LEVELS; level++)
		pass.total += store_windows(store, level)->count;
	gate_leave(&store->gate);
	return pass;
}

void expire_pass_step(struct expire_pass *pass)
{
	if (!pass->told.at)
		return;
	pass->done += pass->done < pass->total;
	pass->told.at(pass->told.owner, pass->done, pass->total);
}
