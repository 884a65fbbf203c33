/* hold.create, list, release: what no policy and no deletion may touch. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/admin_private.h"

/* Holds cannot be copied, since a selector cannot: they are read again from their own text. */
static int holds_copy(struct admin_call *call, struct retention_holds **ret_holds)
{
	AUTO_BUF text = { 0 };
	struct json_writer json = json_writer_of(&text, false);
	retention_holds_put_json(call->keeper->holds, &json);
	if (text.failed)
		return -ENOMEM;
	return retention_holds_parse("holds", (const char *)text.bytes, text.count, ret_holds,
	        call->error, sizeof(call->error));
}

static void hold_describe(const struct retention_hold *hold, const char *reason, struct buf *to)
{
	struct json_writer json = json_writer_of(to, false);
	json_object_begin(&json);
	json_key(&json, "hold");
	retention_put_hold_json(hold, &json);
	if (reason)
		json_key_text(&json, "reason", reason);
	json_object_end(&json);
	buf_put_u8(to, 0);
}

/* What a hold protects of what is stored. */
struct hold_bytes {
	const struct retention_hold *hold;
	uint64_t now_ns;
	uint64_t units, bytes;
};

static int hold_visit(void *owner, const struct store_inventory_unit *unit)
{
	struct hold_bytes *held = owner;
	for (uint32_t i = 0; i < unit->series_count; i++) {
		if (!retention_hold_covers(held->hold, plan_subject(unit, i), unit->window.from_ns,
		            unit->window.to_ns, held->now_ns))
			continue;
		held->units++;
		held->bytes += unit->bytes_detail + unit->bytes_sums;
		return 0;
	}
	return 0;
}

static int hold_put(struct admin_call *call, const struct retention_hold *hold)
{
	struct hold_bytes held = { .hold = hold, .now_ns = keeper_now(call->keeper) };
	int r = store_inventory(call->store,
	        (struct store_inventory_options){ .wants_series = true }, hold_visit, &held);
	json_object_begin(call->json);
	json_key(call->json, "hold");
	retention_put_hold_json(hold, call->json);
	json_key_bool(call->json, "has_ended", hold->until_ns <= held.now_ns);
	json_key_u64(call->json, "units", held.units);
	json_key_u64(call->json, "bytes", held.bytes);
	json_object_end(call->json);
	return r;
}

static int hold_refused(struct admin_call *call, int r)
{
	if (r == -EINVAL || r == -EEXIST || r == -ENOSPC)
		call->status = WIRE_INVALID;
	return r;
}

int admin_hold_create(struct admin_call *call)
{
	struct keeper *keeper = call->keeper;
	const char *id = json_body_text(call->body, "id");
	const char *reason = json_body_text(call->body, "reason");
	uint64_t now_ns = keeper_now(keeper);
	struct retention_hold hold = {
		.from_ns = json_body_u64(call->body, "from_ns", 0),
		.to_ns = json_body_u64(call->body, "to_ns", RETENTION_FOREVER),
		.until_ns = json_body_u64(call->body, "until_ns", RETENTION_FOREVER),
		.created_ns = now_ns,
	};
	AUTO(retention_holds) holds = NULL;
	AUTO_BUF details = { 0 };
	uint32_t rescued = 0;
	if (!*reason)
		return admin_refuse(call, WIRE_INVALID,
		        "a hold has a reason, for whoever finds it in a year; write --reason TEXT");
	if (hold.until_ns <= now_ns)
		return admin_refuse(call, WIRE_INVALID,
		        "the hold would have ended already; write --until in the future");
	if (*id)
		snprintf(hold.id, sizeof(hold.id), "%s", id);
	else
		snprintf(hold.id, sizeof(hold.id), "hold-%" PRIu64, keeper_run_id(keeper));
	autofree char *by = strdup(call->by.actor), *why = strdup(reason);
	if (!by || !why)
		return -ENOMEM;
	hold.created_by = by;
	hold.reason = why;
	int r = holds_copy(call, &holds);
	if (r == 0)
		r = retention_hold_add(holds, &hold, json_body_text(call->body, "selector"),
		        call->error, sizeof(call->error));
	if (r < 0)
		return hold_refused(call, r);

	hold_describe(&holds->holds[holds->count - 1], NULL, &details);
	r = details.failed ? -ENOMEM
	                   : keeper_set_holds(keeper, holds, &call->by, "hold.create",
	                             (const char *)details.bytes);
	if (r < 0)
		return admin_failed(call, "keeping the hold", r);
	(void)TAKE(holds);
	/* What is hidden already and not erased comes back. */
	r = keeper_rescue(keeper, &call->by, &rescued);
	if (r < 0)
		return admin_failed(call, "looking for what is hidden", r);
	json_key(call->json, "created");
	r = hold_put(call, retention_hold_find(keeper->holds, hold.id));
	json_key_u64(call->json, "runs_undone", rescued);
	return r < 0 ? admin_failed(call, "reading the inventory", r) : 0;
}

int admin_hold_list(struct admin_call *call)
{
	int r = 0;
	json_key(call->json, "holds");
	json_array_begin(call->json);
	for (uint32_t i = 0; i < call->keeper->holds->count && r == 0; i++)
		r = hold_put(call, &call->keeper->holds->holds[i]);
	json_array_end(call->json);
	return r < 0 ? admin_failed(call, "reading the inventory", r) : 0;
}

int admin_hold_release(struct admin_call *call)
{
	const char *id = json_body_text(call->body, "id");
	const char *reason = json_body_text(call->body, "reason");
	const struct retention_hold *hold = retention_hold_find(call->keeper->holds, id);
	AUTO(retention_holds) holds = NULL;
	AUTO_BUF details = { 0 };
	if (!hold)
		return admin_refuse(call, WIRE_NOT_FOUND,
		        "no hold \"%s\"; `profleet hold list` shows those there are", id);
	if (!*reason)
		return admin_refuse(call, WIRE_INVALID,
		        "say why it is released, for the audit log; write --reason TEXT");
	hold_describe(hold, reason, &details);
	int r = holds_copy(call, &holds);
	if (r == 0)
		r = retention_hold_remove(holds, id);
	if (r == 0)
		r = details.failed ? -ENOMEM
		                   : keeper_set_holds(call->keeper, holds, &call->by,
		                             "hold.release", (const char *)details.bytes);
	if (r < 0)
		return admin_failed(call, "releasing the hold", r);
	(void)TAKE(holds);
	json_key_text(call->json, "released", id);
	return 0;
}
