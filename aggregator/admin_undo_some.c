/*
 * retention.undo of some of what runs hide: the services of a selector, the windows of a range, or
 * all of it for a look beforehand. One pass over the inventory finds the units; what they are of is
 * told by tenant, service and tier, as a plan tells what goes.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/admin_call.h"
#include "core/id_map.h"

#define UNDO_GROUPS_MAX (1u << 20)
#define UNDO_ROWS_MAX   3000 /* in one answer */

/* What comes back of a service at a tier. */
struct undo_row {
	char *tenant;
	char *service;
	enum retention_tier tier;
	uint64_t windows, rows, bytes, oldest_ns, newest_ns;
	struct store_window_name last_window; /* to count each once */
};

/* One run: what it hides, and which of that is asked for. */
struct undo_run {
	uint64_t id;
	struct buf hides;  /* struct store_expire_item, ascending */
	struct buf wanted; /* struct store_expire_item */
};

struct undo_some {
	struct admin_call *call;
	struct selector *selector; /* NULL: every series */
	uint64_t from_ns, to_ns;
	struct undo_run *runs;
	uint32_t runs_count;
	struct id_map *groups; /* what a row is of -> its place */
	struct buf rows;       /* struct undo_row */
	struct buf text;
};

static void undo_some_fini(struct undo_some *some)
{
	struct undo_row *rows = (void *)some->rows.bytes;
	for (size_t i = 0; i < some->rows.count / sizeof(*rows); i++) {
		free(rows[i].tenant);
		free(rows[i].service);
	}
	for (uint32_t i = 0; i < some->runs_count; i++) {
		buf_fini(&some->runs[i].hides);
		buf_fini(&some->runs[i].wanted);
	}
	free(some->runs);
	buf_fini(&some->rows);
	buf_fini(&some->text);
	id_map_free(some->groups);
	selector_free(some->selector);
}

static int undo_note_item(void *owner, const struct store_expire_item *item)
{
	struct undo_run *run = owner;
	buf_put(&run->hides, item, sizeof(*item));
	return run->hides.failed ? -ENOMEM : 0;
}

/* The order in which a run tells its items. */
static int undo_compare_items(const void *a, const void *b)
{
	const struct store_expire_item *left = a, *right = b;
	const struct store_window_name *x = &left->window, *y = &right->window;
	uint64_t of_left[] = { x->from_ns, x->to_ns, x->level, x->number, left->unit };
	uint64_t of_right[] = { y->from_ns, y->to_ns, y->level, y->number, right->unit };
	for (size_t i = 0; i < COUNT_OF(of_left); i++)
		if (of_left[i] != of_right[i])
			return of_left[i] < of_right[i] ? -1 : 1;
	return 0;
}

/* Which parts of the unit the run hides. */
static uint32_t undo_hides(const struct undo_run *run, const struct store_inventory_unit *unit)
{
	const struct store_expire_item *found = NULL;
	struct store_expire_item item = { unit->window, unit->unit, 0 };
	size_t count = run->hides.count / sizeof(item);
	if (count > 0)
		found = bsearch(&item, run->hides.bytes, count, sizeof(item), undo_compare_items);
	item.unit = STORE_UNIT_NONE;
	if (!found && count > 0)
		found = bsearch(&item, run->hides.bytes, count, sizeof(item), undo_compare_items);
	return found ? found->parts & unit->parts : 0;
}

static int undo_add_row(
        struct undo_some *some, const struct store_inventory_unit *unit, enum retention_tier tier)
{
	struct undo_row row = { .tier = tier, .oldest_ns = UINT64_MAX };
	row.last_window.to_ns = 0; /* of no window */
	row.tenant = strdup(unit->tenant);
	row.service = strdup(unit->service);
	if (row.tenant && row.service)
		buf_put(&some->rows, &row, sizeof(row));
	if (row.tenant && row.service && !some->rows.failed)
		return 0;
	free(row.tenant);
	free(row.service);
	return -ENOMEM;
}

static int undo_count(struct undo_some *some, const struct store_inventory_unit *unit,
        enum retention_tier tier, uint64_t rows, uint64_t bytes)
{
	uint32_t at;
	bool is_new;
	buf_reset(&some->text);
	buf_put(&some->text, unit->tenant, strlen(unit->tenant) + 1);
	buf_put(&some->text, unit->service, strlen(unit->service) + 1);
	buf_put_u8(&some->text, (uint8_t)tier);
	int r = some->text.failed
	                ? -ENOMEM
	                : id_map_intern(some->groups,
	                          hash128_bytes(some->text.bytes, some->text.count), &at, &is_new);
	if (r == 0 && is_new)
		r = undo_add_row(some, unit, tier);
	if (r < 0)
		return r;
	struct undo_row *row = (struct undo_row *)(void *)some->rows.bytes + at;
	row->windows += memcmp(&row->last_window, &unit->window, sizeof(unit->window)) != 0;
	row->last_window = unit->window;
	row->rows += rows;
	row->bytes += bytes;
	if (unit->window.from_ns < row->oldest_ns)
		row->oldest_ns = unit->window.from_ns;
	if (unit->window.to_ns > row->newest_ns)
		row->newest_ns = unit->window.to_ns;
	return 0;
}

static bool undo_matches(const struct undo_some *some, const struct store_inventory_unit *unit)
{
	if (unit->window.to_ns <= some->from_ns || unit->window.from_ns >= some->to_ns)
		return false;
	for (uint32_t i = 0; some->selector && i < unit->series_count; i++)
		if (selector_matches_of(some->selector, unit->tenant, unit->dict, unit->series[i]))
			return true;
	return !some->selector;
}

static enum store_inventory_need undo_need(void *owner, const struct store_inventory_unit *unit)
{
	const struct undo_some *some = owner;
	return some->selector && selector_judge(some->selector, plan_known(unit)) == SELECTOR_NONE
	               ? STORE_NEED_NOTHING
	               : STORE_NEED_SERIES;
}

static int undo_visit(void *owner, const struct store_inventory_unit *unit)
{
	struct undo_some *some = owner;
	if (unit->is_open || (!unit->hidden && unit->unit != STORE_UNIT_NONE) ||
	        !undo_matches(some, unit))
		return 0;
	uint32_t parts = 0;
	for (uint32_t i = 0; i < some->runs_count; i++) {
		struct undo_run *run = &some->runs[i];
		struct store_expire_item item = { unit->window, unit->unit, STORE_PART_ALL };
		uint32_t hides = undo_hides(run, unit);
		if (hides)
			buf_put(&run->wanted, &item, sizeof(item));
		if (run->wanted.failed)
			return -ENOMEM;
		parts |= hides;
	}
	int r = 0;
	if (parts & STORE_PART_DETAIL)
		r = undo_count(some, unit, RETENTION_DETAIL, unit->rows, unit->bytes_detail);
	if (r == 0 && parts & STORE_PART_SUMS)
		r = undo_count(some, unit, RETENTION_10M + unit->window.level, 0, unit->bytes_sums);
	return r;
}

static int undo_compare_rows(const void *a, const void *b)
{
	const struct undo_row *left = a, *right = b;
	return left->bytes < right->bytes ? 1 : left->bytes > right->bytes ? -1 : 0;
}

static void undo_put_rows(struct undo_some *some, struct json_writer *json)
{
	struct undo_row *rows = (void *)some->rows.bytes;
	size_t count = some->rows.count / sizeof(*rows);
	if (count > 1)
		qsort(rows, count, sizeof(*rows), undo_compare_rows);
	json_key(json, "rows_back");
	json_array_begin(json);
	for (size_t i = 0; i < count && i < UNDO_ROWS_MAX; i++) {
		json_object_begin(json);
		json_key_text(json, "tenant", rows[i].tenant);
		json_key_text(json, "service", rows[i].service);
		json_key_text(json, "tier", retention_tier_name(rows[i].tier));
		json_key_u64(json, "windows", rows[i].windows);
		json_key_u64(json, "rows", rows[i].rows);
		json_key_u64(json, "bytes", rows[i].bytes);
		json_key_u64(json, "oldest_ns", rows[i].oldest_ns);
		json_key_u64(json, "newest_ns", rows[i].newest_ns);
		json_object_end(json);
	}
	json_array_end(json);
	json_key_u64(json, "rows_back_count", count);
}

/* What the runs hide of what is asked for. -ENOENT: none of them is there. */
static int undo_find(struct undo_some *some)
{
	struct admin_call *call = some->call;
	uint32_t found = 0;
	for (uint32_t i = 0; i < some->runs_count; i++) {
		int r = store_run_items(
		        call->store, some->runs[i].id, undo_note_item, &some->runs[i]);
		if (r < 0 && r != -ENOENT)
			return r;
		found += r == 0;
	}
	if (found == 0)
		return -ENOENT;
	struct store_inventory_options options = {
		.hidden_alone = true, .need = undo_need, .pass = admin_pass(call)
	};
	if (some->from_ns > 0 || some->to_ns < UINT64_MAX) {
		options.from_ns = some->from_ns;
		options.to_ns = some->to_ns;
	}
	return store_inventory(call->store, options, undo_visit, some);
}

static int undo_run_some(struct undo_some *some, struct undo_run *run, bool is_dry_run,
        struct store_expired *back, struct store_expired *left)
{
	struct admin_call *call = some->call;
	struct store_undo_options options = { (const void *)run->wanted.bytes,
		(uint32_t)(run->wanted.count / sizeof(struct store_expire_item)), is_dry_run };
	struct store_expired one = { 0 }, rest = { 0 };
	/* Without any it is said what stays. */
	int r = is_dry_run || options.count == 0
	                ? store_undo_some(call->store, run->id, options, &one, &rest)
	                : keeper_undo_some(call->keeper, run->id, options,
	                          json_body_text(call->body, "selector"), &call->by, &one, &rest);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	keeper_add_expired(back, &one);
	keeper_add_expired(left, &rest);
	return 0;
}

static int undo_put_some(struct undo_some *some, bool is_dry_run)
{
	struct admin_call *call = some->call;
	struct keeper *keeper = call->keeper;
	struct store_expired back = { 0 }, left = { 0 };
	int r = 0;
	undo_put_rows(some, call->json);
	for (uint32_t i = 0; i < some->runs_count && r == 0; i++)
		r = undo_run_some(some, &some->runs[i], is_dry_run, &back, &left);
	if (r < 0)
		return admin_failed(call, "undoing", r);
	json_key_bool(call->json, "done", !is_dry_run);
	admin_put_expired(&back, call->json);
	json_key_u64(call->json, "bytes_left", left.bytes_detail + left.bytes_sums);
	if (is_dry_run)
		return 0;
	keeper->paused_until_ns = keeper_now(keeper) + keeper->options.grace_ns;
	keeper->changes++; /* a turn that is hiding something takes it back */
	json_key_u64(call->json, "paused_until_ns", keeper->paused_until_ns);
	return keeper_write(keeper, NULL, 0, NULL, NULL, 0, NULL);
}

static int undo_open(struct undo_some *some, const uint64_t *ids, uint32_t count)
{
	struct admin_call *call = some->call;
	const char *text = json_body_text(call->body, "selector");
	char error[512] = "";
	some->from_ns = json_body_u64(call->body, "from_ns", 0);
	some->to_ns = json_body_u64(call->body, "to_ns", UINT64_MAX);
	if (some->from_ns >= some->to_ns)
		return admin_refuse(
		        call, WIRE_INVALID, "that is no time: --from must lie before --to");
	int r = *text ? selector_parse(text, &some->selector, error, sizeof(error)) : 0;
	if (r == -EINVAL)
		return admin_refuse(call, WIRE_INVALID, "selector: %s", error);
	some->groups = id_map_new(UNDO_GROUPS_MAX);
	some->runs = calloc((size_t)count + 1, sizeof(*some->runs));
	if (r < 0 || !some->groups || !some->runs)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		some->runs[i].id = ids[i];
	some->runs_count = count;
	return 0;
}

int admin_undo_some(struct admin_call *call, const uint64_t *ids, uint32_t count)
{
	struct undo_some some __attribute__((cleanup(undo_some_fini))) = { .call = call };
	int r = undo_open(&some, ids, count);
	if (r < 0)
		return r;
	r = undo_find(&some);
	if (r == -ENOENT)
		return r; /* the caller knows what became of the runs */
	if (r < 0)
		return admin_failed(call, "reading the inventory", r);
	if (some.rows.count == 0)
		return admin_refuse(call, WIRE_NOT_FOUND,
		        "nothing of that is hidden by the run; `profleet retention undo RUN "
		        "--dry-run` shows what is");
	return undo_put_some(&some, json_body_flag(call->body, "dry_run"));
}
