/*
 * retention.forget: deletion on request. What is asked for is looked for first, which is all that
 * is done without `yes`; the answer says what went and what still has some of it: names, backups.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/admin_call.h"
#include "core/log.h"
#include "storage/store_backup.h"

/* The hold that protects some of what is asked for. */
struct forget_holds {
	const struct keeper *keeper;
	uint64_t now_ns;
	const struct retention_hold *met;
};

static bool forget_is_held(void *owner, const char *tenant, const struct dict *dict,
        uint32_t series, uint64_t from_ns, uint64_t to_ns)
{
	struct forget_holds *holds = owner;
	const struct retention_hold *hold = retention_held_by(holds->keeper->holds,
	        (struct retention_subject){ tenant, dict, series }, from_ns, to_ns, holds->now_ns);
	if (hold && !holds->met)
		holds->met = hold;
	return hold;
}

/* How much there is to compare with. */
struct forget_share {
	const char *tenant; /* NULL: any */
	uint64_t tenant_bytes;
	uint64_t bytes;
};

static int forget_visit(void *owner, const struct store_inventory_unit *unit)
{
	struct forget_share *share = owner;
	/* What runs have hidden is on its way out: what is left is what somebody may miss. */
	uint64_t bytes = unit->hidden & STORE_PART_SUMS ? 0 : unit->bytes_sums + unit->bytes_window;
	if (!(unit->hidden & STORE_PART_DETAIL))
		bytes += unit->bytes_detail;
	share->bytes += bytes;
	if (!share->tenant || strcmp(share->tenant, unit->tenant) == 0)
		share->tenant_bytes += bytes;
	return 0;
}

static void forget_put(const struct store_forgotten *forgotten, struct json_writer *json)
{
	admin_put_expired(&forgotten->sealed, json);
	json_key_u64(json, "open_batches", forgotten->open_batches);
	json_key_u64(json, "open_rows", forgotten->open_rows);
	json_key_u64(json, "open_bytes", forgotten->open_bytes);
	json_key_u64(json, "units_parted", forgotten->units_parted);
	json_key_u64(json, "windows_cut", forgotten->windows_cut);
	json_key_u64(json, "units_mixed", forgotten->units_mixed);
	json_key_u64(json, "rollups_made_anew", forgotten->rollups_made);
	json_key_u64(json, "units_held", forgotten->units_held);
	json_key_u64(json, "units_hidden", forgotten->units_hidden);
	json_key_u64(json, "open_rows_held", forgotten->open_rows_held);
	json_key_u64(json, "generations", forgotten->generations);
}

static int forget_put_backup(void *owner, const struct backup_manifest *manifest, int result)
{
	(void)result; /* a damaged one may have it as well */
	json_text(owner, manifest->name);
	return 0;
}

/* Deleting does not reach into backups: whoever must delete everywhere has to know. */
static int forget_put_backups(struct admin_call *call)
{
	json_key(call->json, "backups");
	json_array_begin(call->json);
	int r = store_backup_list(call->backups, forget_put_backup, call->json);
	json_array_end(call->json);
	return r == -ENOENT ? 0 : r < 0 ? admin_failed(call, call->backups, r) : 0;
}

static int forget_check(struct admin_call *call, const struct store_forget_options *options,
        const struct store_forgotten *forgotten)
{
	const struct retention_hold *hold = ((struct forget_holds *)options->held_owner)->met;
	struct forget_share share = { .tenant = options->tenant };
	if (hold)
		return admin_refuse(call, WIRE_INVALID,
		        "hold \"%s\" protects some of it (%s); release it first: profleet hold "
		        "release %s --reason TEXT",
		        hold->id, hold->reason, hold->id);
	uint64_t units = 0;
	for (uint32_t level = 0; level < STORE_EXPIRE_LEVELS; level++)
		units += forgotten->sealed.units[level];
	if (units > STORE_RUN_ITEMS_MAX)
		return admin_refuse(call, WIRE_TOO_BIG,
		        "those are %" PRIu64 " units of windows, and %u go at once; name a part of "
		        "the time (--from, --to), and then the next",
		        units, STORE_RUN_ITEMS_MAX);
	/* What is not sealed counts as well: it has no undo at all. */
	int r = store_inventory(call->store,
	        (struct store_inventory_options){ .wants_open = true, .pass = admin_pass(call) },
	        forget_visit, &share);
	if (r < 0)
		return admin_failed(call, "reading the inventory", r);
	uint64_t bytes = forgotten->sealed.bytes_detail + forgotten->sealed.bytes_sums +
	                 forgotten->open_bytes;
	uint64_t rows = forgotten->sealed.rows + forgotten->open_rows;
	bool is_too_much = bytes > share.bytes / KEEPER_STOP_PART ||
	                   bytes > share.tenant_bytes / KEEPER_STOP_TENANT;
	if (is_too_much && json_body_u64(call->body, "confirm", UINT64_MAX) != rows)
		return admin_refuse(call, WIRE_STOPPED,
		        "safety stop: %" PRIu64 " of %" PRIu64 " bytes would go. Nothing was done; "
		        "if that is what is meant, write --confirm %" PRIu64 ", the number of rows",
		        bytes, share.bytes, rows);
	return 0;
}

static void forget_describe(const struct admin_call *call,
        const struct store_forget_options *options, const char *selector, struct buf *to)
{
	struct json_writer json = json_writer_of(to, false);
	json_object_begin(&json);
	json_key_text(&json, "kind", "forget");
	json_key_text(&json, "actor", call->by.actor);
	json_key_text(&json, "tenant", options->tenant ? options->tenant : "");
	json_key_text(&json, "selector", selector);
	json_key_u64(&json, "from_ns", options->from_ns);
	json_key_u64(&json, "to_ns", options->to_ns);
	json_object_end(&json);
	buf_put_u8(to, 0);
}

static int forget_run(struct admin_call *call, struct store_forget_options *options,
        const char *selector, uint64_t bytes)
{
	struct keeper *keeper = call->keeper;
	struct store_forgotten forgotten = { 0 };
	AUTO_BUF text = { 0 };
	char name[40];
	bool now = json_body_flag(call->body, "now");
	forget_describe(call, options, selector, &text);
	if (text.failed)
		return -ENOMEM;
	uint64_t id = keeper_run_id(keeper);
	if (!now) {
		options->run = (struct store_run){ .id = id,
			.hidden_ns = keeper_now(keeper),
			.erase_ns = keeper_now(keeper) + keeper->options.delay_ns };
		snprintf(options->run.note, sizeof(options->run.note), "%.200s", call->by.actor);
	}
	snprintf(name, sizeof(name), "run/%" PRIu64, id);
	struct audit_document document = { name, text.bytes, text.count };
	int r = keeper_write(keeper, &document, now ? 0 : 1, &call->by,
	        now ? "retention.forget_now" : "retention.forget", bytes, (const char *)text.bytes);
	options->is_dry_run = false;
	options->pass = admin_pass(call);
	options->cancelled = &keeper->is_cancelled;
	if (r == 0)
		r = store_forget(call->store, options, &forgotten);
	if (r < 0)
		return admin_failed(call, "forgetting", r);
	/* Batches of it may be in the log and in files that have others; they only stay longer. */
	if (now && store_settle(call->store) < 0)
		log_warn("forget-not-flushed", "log and files still have some of what was batches");
	json_key_bool(call->json, "done", true);
	if (!now) {
		json_key_u64(call->json, "run", id);
		json_key_u64(call->json, "erase_ns", options->run.erase_ns);
	}
	forget_put(&forgotten, call->json);
	return forget_put_backups(call);
}

/*
 * A matcher that names the tenant is the option as well, so that what cannot be read apart from
 * others of the tenant is told by it; alone it is all that he has.
 */
static int forget_find_tenant(struct admin_call *call, const struct selector *selector,
        struct store_forget_options *options, bool *ret_is_alone)
{
	uint32_t count = selector_matchers_count(selector);
	*ret_is_alone = false;
	for (uint32_t i = 0; i < count; i++) {
		if (strcmp(selector_matcher_name(selector, i), SELECTOR_TENANT) != 0)
			continue;
		if (options->tenant && !selector_matcher_accepts(selector, i, options->tenant))
			return admin_refuse(call, WIRE_INVALID,
			        "--tenant %s and the selector contradict each other",
			        options->tenant);
		if (selector_matcher_op(selector, i) != MATCHER_EQUAL)
			continue;
		options->tenant = selector_matcher_value(selector, i);
		*ret_is_alone = count == 1 && !selector_type(selector);
	}
	return 0;
}

int admin_retention_forget(struct admin_call *call)
{
	const char *text = json_body_text(call->body, "selector");
	const struct config_node *tenant = json_body_find(call->body, "tenant");
	char error[512] = "";
	AUTO(selector) selector = NULL;
	struct store_forgotten forgotten = { 0 };
	struct forget_holds holds = { call->keeper, keeper_now(call->keeper), NULL };
	bool is_tenant = false;
	struct store_forget_options options = {
		.is_held = call->keeper->holds->count > 0 ? forget_is_held : NULL,
		.held_owner = &holds,
		.tenant = tenant ? config_node_text(tenant) : NULL,
		.from_ns = json_body_u64(call->body, "from_ns", 0),
		.to_ns = json_body_u64(call->body, "to_ns", UINT64_MAX),
		.is_dry_run = true,
	};
	/* A name that somebody meant to give must not widen it. */
	if (tenant && !options.tenant)
		return admin_refuse(call, WIRE_INVALID, "tenant: write its name, or leave it out");
	int r = *text ? selector_parse(text, &selector, error, sizeof(error)) : 0;
	if (r == -EINVAL)
		return admin_refuse(call, WIRE_INVALID, "selector: %s", error);
	if (r < 0)
		return r;
	r = selector ? forget_find_tenant(call, selector, &options, &is_tenant) : 0;
	if (r < 0)
		return r;
	if (!options.tenant &&
	        (!selector || (selector_matchers_count(selector) == 0 && !selector_type(selector))))
		return admin_refuse(call, WIRE_INVALID,
		        "that is everything; name a tenant (--tenant T), or what to forget by a "
		        "selector");
	options.selector = is_tenant ? NULL : selector;
	options.pass = admin_pass(call);
	if (json_body_flag(call->body, "yes"))
		call->passes = 3; /* looking, how much that is of all, and doing it */
	r = store_forget(call->store, &options, &forgotten);
	if (r < 0)
		return admin_failed(call, "looking for it", r);
	if (!json_body_flag(call->body, "yes")) {
		json_key_bool(call->json, "done", false);
		json_key_text(call->json, "held_by", holds.met ? holds.met->id : "");
		forget_put(&forgotten, call->json);
		return forget_put_backups(call);
	}
	r = forget_check(call, &options, &forgotten);
	return r < 0 ? r
	             : forget_run(call, &options, text,
	                       forgotten.sealed.bytes_detail + forgotten.sealed.bytes_sums +
	                               forgotten.open_bytes);
}
