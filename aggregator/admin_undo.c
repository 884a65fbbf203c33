/*
 * retention.undo: what runs have hidden comes back. Of a run that is no more the audit log knows
 * what became of it: undone before, or erased, and when.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/admin_call.h"

#define UNDO_RUNS_MAX 64

/* The last record of the log that ends a run. */
struct run_fate {
	char run[40]; /* as it stands in the details, up to what follows the number */
	bool is_erased, is_undone;
	uint64_t unix_ns, bytes;
};

static bool fate_has(struct audit_text text, const char *part)
{
	return text.count == strlen(part) && memcmp(text.bytes, part, text.count) == 0;
}

static bool fate_names(const struct run_fate *fate, struct audit_text details)
{
	size_t count = strlen(fate->run);
	const char *at = details.count ? memmem(details.bytes, details.count, fate->run, count)
	                               : NULL;
	if (!at)
		return false;
	const char *behind = at + count;
	bool is_end = behind == details.bytes + details.count;
	return is_end || *behind < '0' || *behind > '9';
}

static int fate_visit(void *owner, uint64_t seq, const struct audit_record *record)
{
	struct run_fate *fate = owner;
	(void)seq;
	if (!record)
		return 0;
	bool is_erased = fate_has(record->action, "retention.erase");
	bool is_undone = fate_has(record->action, "retention.undo");
	if ((!is_erased && !is_undone) || !fate_names(fate, record->details))
		return 0;
	fate->is_erased = is_erased;
	fate->is_undone = is_undone;
	fate->unix_ns = record->unix_ns;
	fate->bytes = record->bytes;
	return 0;
}

static void fate_put_time(uint64_t unix_ns, char text[32])
{
	time_t seconds = (time_t)(unix_ns / NS_PER_S);
	struct tm utc;
	snprintf(text, 32, "%s", "some time");
	if (gmtime_r(&seconds, &utc))
		(void)strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static bool undo_has_document(const struct admin_call *call, uint64_t run)
{
	struct keeper_run document = { 0 };
	int r = keeper_run_get(call->keeper, run, &document);
	keeper_run_fini(&document);
	return r == 0;
}

/* Why a run cannot be undone, as a sentence. */
static int undo_say_why(struct admin_call *call, uint64_t run, char why[256])
{
	struct run_fate fate = { 0 };
	char time[32];
	snprintf(fate.run, sizeof(fate.run), "\"run\":%" PRIu64, run);
	int r = store_audit(call->store, 1, fate_visit, &fate);
	if (r < 0)
		return r;
	fate_put_time(fate.unix_ns, time);
	if (fate.is_erased)
		snprintf(why, 256,
		        "run %" PRIu64 " was erased at %s: its %" PRIu64
		        " bytes are gone for good; what a backup has can be restored beside this "
		        "store: profleet backup list",
		        run, time, fate.bytes);
	else if (fate.is_undone)
		snprintf(why, 256, "run %" PRIu64 " was undone already, at %s", run, time);
	else if (undo_has_document(call, run))
		/* The run is no more, and the end of it is not noted yet. */
		snprintf(why, 256,
		        "run %" PRIu64
		        " has just been erased: it is gone for good; what a backup has "
		        "can be restored beside this store: profleet backup list",
		        run);
	else
		snprintf(why, 256,
		        "no run %" PRIu64 "; `profleet retention status` shows those there are",
		        run);
	return 0;
}

struct undoing {
	struct admin_call *call;
	struct store_expired back; /* of all */
	uint64_t undone[UNDO_RUNS_MAX], gone[UNDO_RUNS_MAX];
	uint32_t undone_count, gone_count;
};

static int undo_one(struct undoing *undoing, uint64_t run)
{
	struct admin_call *call = undoing->call;
	struct store_expired back = { 0 };
	int r = keeper_undo(call->keeper, run, &call->by, &back);
	if (r == -ENOENT) {
		undoing->gone[undoing->gone_count++] = run;
		return 0;
	}
	if (r < 0)
		return admin_failed(call, "undoing", r);
	undoing->undone[undoing->undone_count++] = run;
	keeper_add_expired(&undoing->back, &back);
	return 0;
}

static int undo_put_gone(struct undoing *undoing)
{
	struct json_writer *json = undoing->call->json;
	int r = 0;
	json_key(json, "gone");
	json_array_begin(json);
	for (uint32_t i = 0; i < undoing->gone_count && r == 0; i++) {
		char why[256] = "";
		r = undo_say_why(undoing->call, undoing->gone[i], why);
		json_object_begin(json);
		json_key_u64(json, "run", undoing->gone[i]);
		json_key_text(json, "why", why);
		json_object_end(json);
	}
	json_array_end(json);
	return r;
}

static int undo_put(struct undoing *undoing)
{
	struct admin_call *call = undoing->call;
	struct keeper *keeper = call->keeper;
	keeper->paused_until_ns = keeper_now(keeper) + keeper->options.grace_ns;
	keeper->changes++; /* a turn that is hiding something takes it back */
	json_key(call->json, "undone");
	json_array_begin(call->json);
	for (uint32_t i = 0; i < undoing->undone_count; i++)
		json_u64(call->json, undoing->undone[i]);
	json_array_end(call->json);
	admin_put_expired(&undoing->back, call->json);
	json_key_u64(call->json, "paused_until_ns", keeper->paused_until_ns);
	int r = undo_put_gone(undoing);
	return r < 0 ? r : keeper_write(keeper, NULL, 0, NULL, NULL, 0, NULL);
}

/* Is only some of it asked for, or what it would be? */
static bool undo_is_of_some(const struct admin_call *call)
{
	static const char *const keys[] = { "selector", "from_ns", "to_ns", "dry_run" };
	for (size_t i = 0; i < COUNT_OF(keys); i++)
		if (json_body_find(call->body, keys[i]))
			return true;
	return false;
}

/* None of the runs can be undone: why, of each. */
static int undo_refuse(struct admin_call *call, const uint64_t *runs, uint32_t count)
{
	AUTO_BUF all = { 0 };
	for (uint32_t i = 0; i < count; i++) {
		char why[256] = "";
		int r = undo_say_why(call, runs[i], why);
		if (r < 0)
			return admin_failed(call, "reading the audit log", r);
		buf_printf(&all, "%s%s", i ? "; " : "", why);
	}
	return all.failed ? -ENOMEM
	                  : admin_refuse(call, WIRE_NOT_FOUND, "%.*s", (int)all.count,
	                            (const char *)all.bytes);
}

static int undo_all(struct admin_call *call, const uint64_t *runs, uint32_t count)
{
	struct undoing undoing = { .call = call };
	int r = 0;
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = undo_one(&undoing, runs[i]);
	if (r < 0)
		return r;
	return undoing.undone_count > 0 ? undo_put(&undoing)
	                                : undo_refuse(call, undoing.gone, undoing.gone_count);
}

/* Each once: a run that is named twice is undone, and not gone the second time. */
static uint32_t undo_get_runs(
        const struct config_node *list, uint32_t count, uint64_t runs[UNDO_RUNS_MAX])
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < count; i++) {
		const char *text = config_node_text(config_node_item(list, i));
		uint64_t run = text ? strtoull(text, NULL, 10) : 0;
		bool is_there = false;
		for (uint32_t j = 0; j < kept && !is_there; j++)
			is_there = runs[j] == run;
		if (!is_there)
			runs[kept++] = run;
	}
	return kept;
}

int admin_retention_undo(struct admin_call *call)
{
	const struct config_node *list = json_body_find(call->body, "runs");
	uint64_t runs[UNDO_RUNS_MAX];
	uint32_t count = json_body_count(list);
	if (count > UNDO_RUNS_MAX)
		return admin_refuse(
		        call, WIRE_INVALID, "more than %d runs; undo some first", UNDO_RUNS_MAX);
	count = undo_get_runs(list, count, runs);
	if (count == 0)
		runs[count++] = json_body_u64(call->body, "run", 0);
	if (!undo_is_of_some(call))
		return undo_all(call, runs, count);
	int r = admin_undo_some(call, runs, count);
	return r == -ENOENT ? undo_refuse(call, runs, count) : r;
}
