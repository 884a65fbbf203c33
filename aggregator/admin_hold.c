/* hold.create, list, release: what no policy and no deletion may touch. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/admin_call.h"

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

/* What each of some holds protects of what is stored: one pass for all. */
struct hold_bytes {
	const struct retention_hold *holds;
	uint32_t count;
	uint64_t now_ns;
	uint64_t units[RETENTION_HOLDS_MAX], bytes[RETENTION_HOLDS_MAX];
};

static enum selector_answer hold_judge(
        const struct hold_bytes *held, uint32_t at, const struct store_inventory_unit *unit)
{
	/* A window without units has no series that could be held. */
	if (unit->unit == STORE_UNIT_NONE)
		return SELECTOR_NONE;
	return retention_hold_judge(&held->holds[at], plan_known(unit), unit->window.from_ns,
	        unit->window.to_ns, held->now_ns);
}

/* Series are read where a hold is about labels that a unit's series do not share. */
static enum store_inventory_need hold_need(void *owner, const struct store_inventory_unit *unit)
{
	const struct hold_bytes *held = owner;
	enum store_inventory_need need = STORE_NEED_NOTHING;
	for (uint32_t i = 0; i < held->count && need != STORE_NEED_SERIES; i++) {
		enum store_inventory_need one = plan_need(hold_judge(held, i, unit));
		need = one > need ? one : need;
	}
	return need;
}

static bool hold_covers_unit(
        const struct hold_bytes *held, uint32_t at, const struct store_inventory_unit *unit)
{
	enum selector_answer answer = hold_judge(held, at, unit);
	if (answer != SELECTOR_DEPENDS)
		return answer == SELECTOR_ALL;
	for (uint32_t i = 0; i < unit->series_count; i++)
		if (retention_hold_covers(&held->holds[at], plan_subject(unit, i),
		            unit->window.from_ns, unit->window.to_ns, held->now_ns))
			return true;
	return false;
}

static int hold_visit(void *owner, const struct store_inventory_unit *unit)
{
	struct hold_bytes *held = owner;
	for (uint32_t i = 0; i < held->count; i++) {
		if (!hold_covers_unit(held, i, unit))
			continue;
		held->units[i]++;
		held->bytes[i] += unit->bytes_detail + unit->bytes_sums;
	}
	return 0;
}

static void hold_put(const struct hold_bytes *held, uint32_t at, struct json_writer *json)
{
	const struct retention_hold *hold = &held->holds[at];
	json_object_begin(json);
	json_key(json, "hold");
	retention_put_hold_json(hold, json);
	json_key_bool(json, "has_ended", hold->until_ns <= held->now_ns);
	json_key_u64(json, "units", held->units[at]);
	json_key_u64(json, "bytes", held->bytes[at]);
	json_object_end(json);
}

/* Windows that no hold is about are not read. */
static int hold_measure(struct admin_call *call, const struct retention_hold *holds, uint32_t count,
        struct hold_bytes *ret_held)
{
	struct store_inventory_options options = {
		.need = hold_need, .from_ns = UINT64_MAX, .pass = admin_pass(call)
	};
	*ret_held = (struct hold_bytes){
		.holds = holds, .count = count, .now_ns = keeper_now(call->keeper)
	};
	for (uint32_t i = 0; i < count; i++) {
		if (holds[i].from_ns < options.from_ns)
			options.from_ns = holds[i].from_ns;
		if (holds[i].to_ns > options.to_ns)
			options.to_ns = holds[i].to_ns;
	}
	return count == 0 ? 0 : store_inventory(call->store, options, hold_visit, ret_held);
}

static bool text_is_blank(const char *text)
{
	return text[strspn(text, " \t\r\n")] == 0;
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
	if (text_is_blank(reason))
		return admin_refuse(call, WIRE_INVALID,
		        "a hold has a reason, for whoever finds it in a year; write --reason TEXT");
	if (hold.until_ns <= now_ns)
		return admin_refuse(call, WIRE_INVALID,
		        "the hold would have ended already; write --until in the future");
	if (strlen(id) > RETENTION_NAME_BYTES_MAX)
		return admin_refuse(call, WIRE_INVALID,
		        "the id is longer than %d letters; write a shorter --id",
		        RETENTION_NAME_BYTES_MAX);
	if (*id)
		snprintf(hold.id, sizeof(hold.id), "%s", id);
	else
		snprintf(hold.id, sizeof(hold.id), "hold-%" PRIu64, keeper_run_id(keeper));
	autofree char *by = strdup(call->by.actor), *why = strdup(reason);
	if (!by || !why)
		return -ENOMEM;
	hold.created_by = by;
	hold.reason = why;
	int r = keeper_copy_holds(keeper, &holds);
	if (r == 0)
		r = retention_hold_add(holds, &hold, json_body_text(call->body, "selector"),
		        call->error, sizeof(call->error));
	if (r < 0)
		return hold_refused(call, r);

	hold_describe(&holds->holds[holds->count - 1], NULL, &details);
	r = details.failed ? -ENOMEM
	                   : keeper_set_holds(keeper, holds, &call->by, "hold.create",
	                             (const char *)details.bytes);
	if (r == -EFBIG)
		return admin_refuse(call, WIRE_INVALID,
		        "the holds are more text than is kept: release some, or give a shorter "
		        "--reason");
	if (r < 0)
		return admin_failed(call, "keeping the hold", r);
	(void)TAKE(holds);
	/* What is hidden already and not erased comes back. */
	r = keeper_rescue(keeper, &call->by, &rescued);
	if (r < 0)
		return admin_failed(call, "looking for what is hidden", r);
	struct hold_bytes held;
	r = hold_measure(call, retention_hold_find(keeper->holds, hold.id), 1, &held);
	json_key(call->json, "created");
	hold_put(&held, 0, call->json);
	json_key_u64(call->json, "runs_undone", rescued);
	return r < 0 ? admin_failed(call, "reading the inventory", r) : 0;
}

int admin_hold_list(struct admin_call *call)
{
	AUTO_KEEPER_COPY copy = { 0 };
	struct hold_bytes held;
	int r = keeper_copy_take(call->keeper, &copy);
	if (r < 0)
		return r;
	const struct retention_holds *holds = copy.holds;
	r = hold_measure(call, holds->holds, holds->count, &held);
	json_key(call->json, "holds");
	json_array_begin(call->json);
	for (uint32_t i = 0; i < holds->count; i++)
		hold_put(&held, i, call->json);
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
	if (text_is_blank(reason))
		return admin_refuse(call, WIRE_INVALID,
		        "say why it is released, for the audit log; write --reason TEXT");
	hold_describe(hold, reason, &details);
	int r = keeper_copy_holds(call->keeper, &holds);
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
