/*
 * Runs: hiding what a plan says, erasing it when its time has come, and bringing it back.
 *
 * The document of a run says whose it is and what it hides. It and the record of the log are
 * written before the store hides anything: killed in between, there is a document without a run,
 * which the next turn takes away. It is needed to tell which runs a new hold has to undo.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/json_body.h"
#include "aggregator/keeper_work.h"
#include "core/log.h"

#define RUN_ITEM_BYTES 32
#define RUN_NAME_BYTES 32

uint64_t keeper_run_id(struct keeper *keeper)
{
	uint64_t id = keeper_now(keeper) / NS_PER_MS;
	if (id <= keeper->last_id)
		id = keeper->last_id + 1;
	keeper->last_id = id;
	return id;
}

static void run_put_name(uint64_t id, char name[RUN_NAME_BYTES])
{
	snprintf(name, RUN_NAME_BYTES, "run/%" PRIu64, id);
}

/* ---- hiding ---- */

uint32_t keeper_sum_policies(
        const struct retention_plan *plan, struct keeper_bytes ret_sums[RETENTION_POLICIES_MAX + 1])
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < plan->rows_count; i++) {
		const struct plan_row *row = &plan->rows[i];
		uint32_t at = 0;
		while (at < count && strcmp(ret_sums[at].policy, row->policy) != 0)
			at++;
		if (row->bytes_now == 0 || at > RETENTION_POLICIES_MAX)
			continue;
		if (at == count) {
			ret_sums[count] = (struct keeper_bytes){ 0 };
			snprintf(ret_sums[count].policy, sizeof(ret_sums[count].policy), "%s",
			        row->policy);
			count++;
		}
		ret_sums[at].bytes += row->bytes_now;
	}
	return count;
}

static void run_put_item(const struct store_expire_item *item, struct buf *to)
{
	buf_put_u32(to, item->window.level);
	buf_put_u32(to, item->window.number);
	buf_put_u64(to, item->window.from_ns);
	buf_put_u64(to, item->window.to_ns);
	buf_put_u32(to, item->unit);
	buf_put_u32(to, item->parts);
}

/* Bytes of each policy, for what is counted when the run is erased. */
static void run_put_policies(const struct retention_plan *plan, struct json_writer *json)
{
	struct keeper_bytes sums[RETENTION_POLICIES_MAX + 1];
	uint32_t count = keeper_sum_policies(plan, sums);
	json_key(json, "policies");
	json_array_begin(json);
	for (uint32_t i = 0; i < count; i++) {
		json_object_begin(json);
		json_key_text(json, "policy", sums[i].policy);
		json_key_u64(json, "bytes", sums[i].bytes);
		json_object_end(json);
	}
	json_array_end(json);
}

/* The head ends with a zero byte, which JSON has none of; items follow. */
static void run_put_document(const struct retention_plan *plan, const struct keeper_actor *by,
        bool is_first, const struct store_expire_item *items, uint32_t count, struct buf *to)
{
	struct json_writer json = json_writer_of(to, false);
	json_object_begin(&json);
	json_key_text(&json, "kind", "policies");
	json_key_text(&json, "actor", by->actor);
	if (is_first)
		run_put_policies(plan, &json);
	json_object_end(&json);
	buf_put_u8(to, 0);
	for (uint32_t i = 0; i < count; i++)
		run_put_item(&items[i], to);
}

static void run_put_details(const struct retention_plan *plan, uint64_t id, struct buf *to)
{
	struct json_writer json = json_writer_of(to, false);
	json_object_begin(&json);
	json_key_u64(&json, "run", id);
	json_key_u64(&json, "windows", plan->windows_now);
	json_key_u64(&json, "rows", plan->rows_now);
	run_put_policies(plan, &json);
	json_object_end(&json);
	buf_put_u8(to, 0);
	if (to->count > AUDIT_DETAILS_BYTES_MAX) {
		buf_reset(to);
		buf_printf(to, "{\"run\":%" PRIu64 "}", id);
		buf_put_u8(to, 0);
	}
}

void keeper_add_expired(struct store_expired *sum, const struct store_expired *one)
{
	for (int level = 0; level < STORE_EXPIRE_LEVELS; level++) {
		sum->windows[level] += one->windows[level];
		sum->units[level] += one->units[level];
	}
	sum->rows += one->rows;
	sum->bytes_detail += one->bytes_detail;
	sum->bytes_sums += one->bytes_sums;
	sum->missing += one->missing;
}

static int keeper_hide_some(struct keeper *keeper, const struct retention_plan *plan,
        const struct keeper_actor *by, const char *action, uint32_t first, uint32_t count,
        struct buf *ret_runs, struct store_expired *expired)
{
	const struct store_expire_item *items = retention_plan_items(plan) + first;
	uint64_t now_ns = keeper_now(keeper);
	struct store_run run = { .id = keeper_run_id(keeper),
		.hidden_ns = now_ns,
		.erase_ns = now_ns + keeper->options.delay_ns };
	struct store_expired one = { 0 };
	char name[RUN_NAME_BYTES];
	AUTO_BUF text = { 0 };
	AUTO_BUF details = { 0 };
	snprintf(run.note, sizeof(run.note), "%.200s", by->actor);
	run_put_name(run.id, name);
	run_put_document(plan, by, first == 0, items, count, &text);
	run_put_details(plan, run.id, &details);
	if (text.failed || details.failed)
		return -ENOMEM;
	struct audit_document document = { name, text.bytes, text.count };
	int r = keeper_write(keeper, &document, 1, by, action, first == 0 ? plan->bytes_now : 0,
	        (const char *)details.bytes);
	if (r < 0)
		return r;
	uint64_t changes = keeper_leave(keeper);
	r = store_hide(keeper->options.store, &run, items, count, &one);
	bool is_changed = keeper_return(keeper, changes);
	if (r < 0)
		return r;
	keeper_add_expired(expired, &one);
	buf_put_u64(ret_runs, run.id);
	log_info("retention-hidden",
	        "run %" PRIu64 " for %s: %" PRIu64 " bytes, to be erased after the delay", run.id,
	        by->actor, one.bytes_detail + one.bytes_sums);
	return ret_runs->failed ? -ENOMEM : is_changed;
}

/* The plan was of other policies or holds. A run that hid nothing is none. */
static int keeper_take_back(struct keeper *keeper, const struct buf *runs)
{
	struct reader ids = reader_of(runs->bytes, runs->count);
	int r = 0;
	while (reader_left(&ids) > 0 && r == 0) {
		struct store_expired back = { 0 };
		r = keeper_undo(keeper, reader_u64(&ids), &keeper_itself, &back);
		r = r == -ENOENT ? 0 : r;
	}
	return r < 0 ? r : 1;
}

int keeper_hide(struct keeper *keeper, const struct retention_plan *plan,
        const struct keeper_actor *by, const char *action, struct buf *ret_runs,
        struct store_expired *ret_expired)
{
	uint32_t count = retention_plan_items_count(plan);
	int r = 0;
	for (uint32_t first = 0; first < count && r == 0; first += KEEPER_ITEMS_MAX) {
		uint32_t some = count - first < KEEPER_ITEMS_MAX ? count - first : KEEPER_ITEMS_MAX;
		r = keeper_hide_some(keeper, plan, by, action, first, some, ret_runs, ret_expired);
	}
	return r == 1 ? keeper_take_back(keeper, ret_runs) : r;
}

/* ---- a run's document ---- */

void keeper_run_fini(struct keeper_run *run)
{
	config_free(run->config);
	buf_fini(&run->text);
}

int keeper_run_get(struct keeper *keeper, uint64_t id, struct keeper_run *ret_run)
{
	struct keeper_run run = { 0 };
	char name[RUN_NAME_BYTES], error[128];
	run_put_name(id, name);
	int r = store_document_get(keeper->options.store, name, &run.text);
	if (r == 0)
		r = config_parse(name, (const char *)run.text.bytes,
		        strnlen((const char *)run.text.bytes, run.text.count), &run.config, error,
		        sizeof(error));
	if (r < 0) {
		keeper_run_fini(&run);
		return r;
	}
	const struct config_node *root = config_root(run.config);
	snprintf(run.kind, sizeof(run.kind), "%s", json_body_text(root, "kind"));
	snprintf(run.actor, sizeof(run.actor), "%s", json_body_text(root, "actor"));
	*ret_run = run;
	return 0;
}

/* Where the items of a run's document lie. */
static struct reader run_items(const struct keeper_run *run)
{
	size_t head = strnlen((const char *)run->text.bytes, run->text.count);
	return head < run->text.count
	               ? reader_of(run->text.bytes + head + 1, run->text.count - head - 1)
	               : reader_of(NULL, 0);
}

/* ---- runs that hide what a hold protects ---- */

/* A unit that is hidden and held. */
struct rescue_unit {
	struct store_window_name window;
	uint32_t unit;
};

struct rescue {
	struct keeper *keeper;
	struct buf held;        /* struct rescue_unit */
	struct selector *asked; /* of a deletion on request: which run is it? NULL: gather */
	const char *tenant;     /* of that deletion; "" any */
	uint64_t from_ns, to_ns;
	bool is_met;
};

static enum selector_answer rescue_judge(
        const struct rescue *rescue, const struct store_inventory_unit *unit)
{
	/* A window without units has no series that could be held. */
	if (unit->unit == STORE_UNIT_NONE)
		return SELECTOR_NONE;
	return retention_holds_judge(rescue->keeper->holds, plan_known(unit), unit->window.from_ns,
	        unit->window.to_ns, keeper_now(rescue->keeper));
}

static enum store_inventory_need rescue_need(void *owner, const struct store_inventory_unit *unit)
{
	return plan_need(rescue_judge(owner, unit));
}

static bool rescue_is_held(const struct rescue *rescue, const struct store_inventory_unit *unit)
{
	uint64_t now_ns = keeper_now(rescue->keeper);
	enum selector_answer answer = rescue_judge(rescue, unit);
	if (answer != SELECTOR_DEPENDS)
		return answer == SELECTOR_ALL;
	for (uint32_t i = 0; i < unit->series_count; i++)
		if (retention_held_by(rescue->keeper->holds, plan_subject(unit, i),
		            unit->window.from_ns, unit->window.to_ns, now_ns))
			return true;
	return false;
}

static int rescue_gather(void *owner, const struct store_inventory_unit *unit)
{
	struct rescue *rescue = owner;
	if (!unit->hidden || unit->is_corrupt || !rescue_is_held(rescue, unit))
		return 0;
	struct rescue_unit one = { unit->window, unit->unit };
	buf_put(&rescue->held, &one, sizeof(one));
	return rescue->held.failed ? -ENOMEM : 0;
}

/* By window, then by unit. */
static int rescue_compare(const void *a, const void *b)
{
	const struct rescue_unit *left = a, *right = b;
	const uint64_t of_left[] = { left->window.level, left->window.from_ns, left->window.to_ns,
		left->window.number, left->unit };
	const uint64_t of_right[] = { right->window.level, right->window.from_ns,
		right->window.to_ns, right->window.number, right->unit };
	for (size_t i = 0; i < COUNT_OF(of_left); i++)
		if (of_left[i] != of_right[i])
			return of_left[i] < of_right[i] ? -1 : 1;
	return 0;
}

/* Is it held, or for a whole window, is any of its units? What is held is sorted. */
static bool rescue_has(const struct rescue *rescue, const struct store_expire_item *item)
{
	const struct rescue_unit *held = (const void *)rescue->held.bytes;
	bool is_whole = item->unit == STORE_UNIT_NONE;
	struct rescue_unit wanted = { item->window, is_whole ? 0 : item->unit };
	size_t first = 0, end = rescue->held.count / sizeof(*held), count = end;
	while (first < end) {
		size_t middle = first + (end - first) / 2;
		if (rescue_compare(&held[middle], &wanted) < 0)
			first = middle + 1;
		else
			end = middle;
	}
	if (first == count)
		return false;
	struct rescue_unit met = { held[first].window, is_whole ? 0 : held[first].unit };
	return rescue_compare(&met, &wanted) == 0;
}

static bool rescue_meets_items(const struct rescue *rescue, const struct keeper_run *run)
{
	struct reader items = run_items(run);
	while (reader_left(&items) >= RUN_ITEM_BYTES) {
		struct store_expire_item item;
		item.window.level = reader_u32(&items);
		item.window.number = reader_u32(&items);
		item.window.from_ns = reader_u64(&items);
		item.window.to_ns = reader_u64(&items);
		item.unit = reader_u32(&items);
		item.parts = reader_u32(&items);
		if (rescue_has(rescue, &item))
			return true;
	}
	return false;
}

/* Does a deletion on request hide this unit? Then it is that run's. */
static int rescue_match(void *owner, const struct store_inventory_unit *unit)
{
	struct rescue *rescue = owner;
	if (!unit->hidden || unit->is_corrupt ||
	        (*rescue->tenant && strcmp(rescue->tenant, unit->tenant) != 0) ||
	        unit->window.to_ns <= rescue->from_ns || unit->window.from_ns >= rescue->to_ns ||
	        !rescue_is_held(rescue, unit))
		return 0;
	for (uint32_t i = 0; i < unit->series_count && !rescue->is_met; i++)
		rescue->is_met |= !rescue->asked || selector_matches_of(rescue->asked, unit->tenant,
		                                            unit->dict, unit->series[i]);
	return rescue->is_met;
}

/* Series are looked at one by one, both for the hold and for what was deleted. */
static enum store_inventory_need rescue_match_need(
        void *owner, const struct store_inventory_unit *unit)
{
	const struct rescue *rescue = owner;
	bool is_other = rescue_judge(rescue, unit) == SELECTOR_NONE ||
	                (rescue->asked &&
	                        selector_judge(rescue->asked, plan_known(unit)) == SELECTOR_NONE);
	return is_other ? STORE_NEED_NOTHING : STORE_NEED_SERIES;
}

static int rescue_meets_forget(struct rescue *rescue, const struct config_node *root)
{
	char error[256];
	const char *text = json_body_text(root, "selector");
	AUTO(selector) selector = NULL;
	int r = *text ? selector_parse(text, &selector, error, sizeof(error)) : 0;
	if (r < 0)
		return r;
	rescue->asked = selector;
	rescue->tenant = json_body_text(root, "tenant");
	rescue->from_ns = json_body_u64(root, "from_ns", 0);
	rescue->to_ns = json_body_u64(root, "to_ns", UINT64_MAX);
	rescue->is_met = false;
	r = store_inventory(rescue->keeper->options.store,
	        (struct store_inventory_options){ .hidden_alone = true, .need = rescue_match_need },
	        rescue_match, rescue);
	rescue->asked = NULL;
	return r < 0 ? r : rescue->is_met;
}

struct run_ids {
	struct buf ids; /* u64 of every run */
	struct buf due; /* u64 of those whose time has come */
	uint64_t now_ns;
};

static int run_note(void *owner, const struct store_run_state *state)
{
	struct run_ids *runs = owner;
	buf_put(&runs->ids, &state->run.id, sizeof(state->run.id));
	if (state->run.erase_ns <= runs->now_ns)
		buf_put(&runs->due, &state->run.id, sizeof(state->run.id));
	return runs->ids.failed || runs->due.failed ? -ENOMEM : 0;
}

static void run_ids_fini(struct run_ids *runs)
{
	buf_fini(&runs->ids);
	buf_fini(&runs->due);
}

static uint64_t run_id_at(const struct buf *ids, size_t index)
{
	uint64_t id;
	memcpy(&id, ids->bytes + index * sizeof(id), sizeof(id));
	return id;
}

/* 1: this run hides something of a hold. */
static int rescue_meets(struct rescue *rescue, uint64_t id)
{
	struct keeper_run run = { 0 };
	int r = keeper_run_get(rescue->keeper, id, &run);
	/* Nobody knows what it hides: it may be what is held. */
	if (r == -ENOENT || r == -EBADMSG || r == -EINVAL)
		return 1;
	if (r < 0)
		return r;
	if (strcmp(run.kind, "forget") == 0)
		r = rescue_meets_forget(rescue, config_root(run.config));
	else
		r = rescue_meets_items(rescue, &run);
	keeper_run_fini(&run);
	return r;
}

int keeper_rescue(struct keeper *keeper, const struct keeper_actor *by, uint32_t *ret_rescued)
{
	struct rescue rescue = { .keeper = keeper };
	struct run_ids runs __attribute__((cleanup(run_ids_fini))) = { 0 };
	*ret_rescued = 0;
	if (keeper->holds->count == 0)
		return 0;
	int r = store_runs(keeper->options.store, run_note, &runs);
	size_t count = runs.ids.count / sizeof(uint64_t);
	if (r == 0 && count > 0)
		r = store_inventory(keeper->options.store,
		        (struct store_inventory_options){
		                .hidden_alone = true, .need = rescue_need },
		        rescue_gather, &rescue);
	size_t held = rescue.held.count / sizeof(struct rescue_unit);
	if (held == 0)
		count = 0;
	if (held > 1)
		qsort(rescue.held.bytes, held, sizeof(struct rescue_unit), rescue_compare);
	for (size_t i = 0; i < count && r == 0; i++) {
		uint64_t id = run_id_at(&runs.ids, i);
		struct store_expired back = { 0 };
		r = rescue_meets(&rescue, id);
		if (r > 0) {
			r = keeper_undo(keeper, id, by, &back);
			*ret_rescued += r == 0;
		}
	}
	buf_fini(&rescue.held);
	return r;
}

/* ---- undoing and erasing ---- */

int keeper_undo(struct keeper *keeper, uint64_t run, const struct keeper_actor *by,
        struct store_expired *ret_back)
{
	char name[RUN_NAME_BYTES], details[128];
	int r = store_undo(keeper->options.store, run, ret_back);
	if (r < 0)
		return r;
	run_put_name(run, name);
	snprintf(details, sizeof(details), "{\"run\":%" PRIu64 ",\"missing\":%" PRIu64 "}", run,
	        ret_back->missing);
	struct audit_document document = { name, NULL, 0 };
	return keeper_write(keeper, &document, 1, by, "retention.undo",
	        ret_back->bytes_detail + ret_back->bytes_sums, details);
}

/* Stops at the first. */
static int run_has_item(void *owner, const struct store_expire_item *item)
{
	(void)owner;
	(void)item;
	return 1;
}

/* The head of a run's document with its policies' bytes in proportion, and the items as they were:
 * whoever looks for what it hides may find too much, and then brings back too much. */
static int run_put_rest(const struct keeper_run *run, uint64_t left, uint64_t all, struct buf *to)
{
	const struct config_node *root = config_root(run->config);
	const struct config_node *list = json_body_find(root, "policies");
	struct reader items = run_items(run);
	struct json_writer json = json_writer_of(to, false);
	if (!list)
		return -ENOENT;
	json_object_begin(&json);
	json_key_text(&json, "kind", run->kind);
	json_key_text(&json, "actor", run->actor);
	json_key(&json, "policies");
	json_array_begin(&json);
	for (uint32_t i = 0; i < json_body_count(list); i++) {
		const struct config_node *one = config_node_item(list, i);
		unsigned __int128 bytes = json_body_u64(one, "bytes", 0);
		json_object_begin(&json);
		json_key_text(&json, "policy", json_body_text(one, "policy"));
		json_key_u64(&json, "bytes", (uint64_t)(all > 0 ? bytes * left / all : bytes));
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_end(&json);
	buf_put_u8(to, 0);
	size_t count = reader_left(&items);
	buf_put(to, run->text.bytes + run->text.count - count, count);
	return to->failed ? -ENOMEM : 0;
}

static void run_put_undone(uint64_t id, const char *selector, const struct store_expired *back,
        const struct store_expired *left, struct buf *to)
{
	struct json_writer json = json_writer_of(to, false);
	json_object_begin(&json);
	json_key_u64(&json, "run", id);
	json_key_text(&json, "selector", selector);
	json_key_u64(&json, "rows", back->rows);
	json_key_u64(&json, "missing", back->missing);
	json_key_u64(&json, "bytes_left", left->bytes_detail + left->bytes_sums);
	json_object_end(&json);
	buf_put_u8(to, 0);
}

int keeper_undo_some(struct keeper *keeper, uint64_t run, struct store_undo_options options,
        const char *selector, const struct keeper_actor *by, struct store_expired *ret_back,
        struct store_expired *ret_left)
{
	char name[RUN_NAME_BYTES];
	struct keeper_run before = { 0 };
	struct audit_document document = { name, NULL, 0 };
	AUTO_BUF details = { 0 };
	AUTO_BUF rest = { 0 };
	int r = store_undo_some(keeper->options.store, run, options, ret_back, ret_left);
	if (r < 0)
		return r;
	uint64_t left = ret_left->bytes_detail + ret_left->bytes_sums;
	uint64_t back = ret_back->bytes_detail + ret_back->bytes_sums;
	bool is_over = store_run_items(keeper->options.store, run, run_has_item, NULL) == -ENOENT;
	run_put_name(run, name);
	run_put_undone(run, selector, ret_back, ret_left, &details);
	/* Of a deletion on request, or where nothing can be read of it, it stays as it is. */
	if (!is_over && keeper_run_get(keeper, run, &before) == 0) {
		r = run_put_rest(&before, left, left + back, &rest);
		keeper_run_fini(&before);
	} else {
		r = is_over ? 0 : -ENOENT;
	}
	if (r == 0 && !is_over)
		document = (struct audit_document){ name, rest.bytes, rest.count };
	if (details.failed || (r < 0 && r != -ENOENT))
		return details.failed ? -ENOMEM : r;
	return keeper_write(keeper, &document, r == 0, by,
	        is_over ? "retention.undo" : "retention.undo_part", back,
	        (const char *)details.bytes);
}

static void keeper_count_deleted(struct keeper *keeper, const char *policy, uint64_t bytes)
{
	(void)pthread_mutex_lock(&keeper->state_lock);
	uint32_t at = 0;
	while (at < keeper->deleted_count && strcmp(keeper->deleted[at].policy, policy) != 0)
		at++;
	/* One place stays for all that have none of their own. */
	if (at == KEEPER_DELETED_MAX)
		at = KEEPER_DELETED_MAX - 1;
	if (at == keeper->deleted_count) {
		snprintf(keeper->deleted[at].policy, sizeof(keeper->deleted[at].policy), "%s",
		        at == KEEPER_DELETED_MAX - 1 ? "other" : policy);
		keeper->deleted_count++;
	}
	keeper->deleted[at].bytes += bytes;
	(void)pthread_mutex_unlock(&keeper->state_lock);
}

/* What a run's document says its policies had; what came to be erased may be less. */
static void keeper_count_run(
        struct keeper *keeper, const struct keeper_run *run, const struct store_expired *expired)
{
	const struct config_node *list = json_body_find(config_root(run->config), "policies");
	for (uint32_t i = 0; i < json_body_count(list); i++) {
		const struct config_node *one = config_node_item(list, i);
		keeper_count_deleted(
		        keeper, json_body_text(one, "policy"), json_body_u64(one, "bytes", 0));
	}
	if (strcmp(run->kind, "forget") == 0)
		keeper_count_deleted(
		        keeper, "on-request", expired->bytes_detail + expired->bytes_sums);
}

/* What somebody wanted forgotten is to be nowhere; what was only old may take its time. */
static void keeper_settle(struct keeper *keeper, const struct keeper_run *run)
{
	if (run->config && strcmp(run->kind, "forget") != 0)
		return;
	if (store_settle(keeper->options.store) < 0)
		log_warn("forget-not-flushed", "log and files still have some of what was batches");
}

static int keeper_erase(struct keeper *keeper, uint64_t id)
{
	struct store_expired expired = { 0 };
	struct keeper_run run = { 0 };
	char name[RUN_NAME_BYTES], details[160];
	(void)keeper_run_get(keeper, id, &run); /* without it nothing is counted, but erased */
	uint64_t changes = keeper_leave(keeper);
	int r = store_erase(keeper->options.store, id, &keeper->is_cancelled, &expired);
	if (r == 0)
		keeper_settle(keeper, &run);
	(void)keeper_return(keeper, changes); /* who undid it meanwhile has what was left */
	if (r == 0 && run.config)
		keeper_count_run(keeper, &run, &expired);
	keeper_run_fini(&run);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	uint64_t bytes = expired.bytes_detail + expired.bytes_sums;
	run_put_name(id, name);
	snprintf(details, sizeof(details), "{\"run\":%" PRIu64 ",\"rows\":%" PRIu64 "}", id,
	        expired.rows);
	log_info("retention-erased", "run %" PRIu64 ": %" PRIu64 " bytes", id, bytes);
	struct audit_document document = { name, NULL, 0 };
	return keeper_write(
	        keeper, &document, 1, &keeper_itself, "retention.erase", bytes, details);
}

struct run_orphans {
	const struct run_ids *runs;
	uint64_t id;
};

/* Finds one document whose run is no more: it was never hidden, or the end of it was not noted. */
static int run_find_orphan(void *owner, const char *name)
{
	struct run_orphans *orphans = owner;
	uint64_t id = 0;
	for (const char *at = name + strlen("run/"); *at >= '0' && *at <= '9'; at++)
		id = id * 10 + (uint64_t)(*at - '0');
	if (id == 0)
		return 0; /* no name of ours */
	size_t count = orphans->runs->ids.count / sizeof(id);
	for (size_t i = 0; i < count; i++)
		if (run_id_at(&orphans->runs->ids, i) == id)
			return 0;
	orphans->id = id;
	return 1;
}

static int keeper_drop_orphans(struct keeper *keeper, const struct run_ids *runs)
{
	struct run_orphans orphans = { .runs = runs };
	char name[RUN_NAME_BYTES], details[64];
	int r;
	while ((r = store_documents(keeper->options.store, "run/", run_find_orphan, &orphans)) ==
	        1) {
		run_put_name(orphans.id, name);
		snprintf(details, sizeof(details), "{\"run\":%" PRIu64 "}", orphans.id);
		struct audit_document document = { name, NULL, 0 };
		r = keeper_write(keeper, &document, 1, &keeper_itself, "retention.run_is_no_more",
		        0, details);
		if (r < 0)
			return r;
	}
	return r;
}

int keeper_erase_due(struct keeper *keeper)
{
	struct run_ids runs __attribute__((cleanup(run_ids_fini))) = { 0 };
	runs.now_ns = keeper_now(keeper);
	int r = store_runs(keeper->options.store, run_note, &runs);
	if (r == 0)
		r = keeper_drop_orphans(keeper, &runs);
	size_t count = runs.due.count / sizeof(uint64_t);
	if (r < 0 || count == 0)
		return r;
	/* A clock that jumped makes everything due: it waits for the second word as well. */
	if (*keeper->stop && keeper->stop_stays)
		return -EAGAIN;
	uint32_t rescued = 0;
	r = keeper_rescue(keeper, &keeper_itself, &rescued);
	for (size_t i = 0; i < count && r == 0; i++)
		r = keeper_erase(keeper, run_id_at(&runs.due, i));
	return r;
}
