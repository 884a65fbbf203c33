/*
 * backup.*: copies of the running store in the folder of backups, and stores made of them. They
 * take as long as the bytes take, so the keeper goes on meanwhile (admin.c does not lock it for
 * them); other administration waits.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aggregator/admin_call.h"
#include "core/clock.h"
#include "core/log.h"
#include "storage/audit.h"
#include "storage/store_backup.h"
#include "storage/store_verify.h"

#define BACKUP_FINDINGS_MAX 16

/* In the audit log. What cannot be noted was done nevertheless: that is said. */
static int backup_note(struct admin_call *call, const char *action, const char *name,
        const char *to, uint64_t bytes)
{
	AUTO_BUF details = { 0 };
	struct json_writer json = json_writer_of(&details, false);
	json_object_begin(&json);
	json_key_text(&json, "backup", name);
	if (to)
		json_key_text(&json, "to", to);
	json_object_end(&json);
	buf_put_u8(&details, 0);
	struct audit_entry entry = {
		.actor = call->by.actor,
		.origin = call->by.origin,
		.request = call->by.request,
		.action = action,
		.before = "",
		.after = "",
		.details = (const char *)details.bytes,
		.bytes = bytes,
	};
	int r = details.failed ? -ENOMEM : store_administer(call->store, NULL, 0, &entry, NULL);
	log_info("backup", "%s %s by %s", action, name, call->by.actor);
	return r < 0 ? admin_failed(call, "done, but not noted in the audit log", r) : 0;
}

/* What the storage said is in call->error. */
static int backup_refused(struct admin_call *call, int r)
{
	if (r == -EINVAL || r == -EEXIST || r == -ENOTEMPTY)
		call->status = WIRE_INVALID;
	else if (r == -ENOENT)
		call->status = WIRE_NOT_FOUND;
	return r;
}

static int backup_at(void *owner, uint64_t bytes_done, uint64_t bytes_total)
{
	const struct admin_call *call = owner;
	admin_running_at(call->running, call->place, bytes_done, bytes_total);
	return 0;
}

static struct store_backup_options backup_options(struct admin_call *call)
{
	return (struct store_backup_options){
		.folder = call->backups,
		.name = json_body_text(call->body, "name"),
		.progress = backup_at,
		.owner = call,
	};
}

static void backup_put(struct json_writer *json, const struct backup_manifest *manifest, int result)
{
	const struct backup_contents *contents = &manifest->contents;
	json_object_begin(json);
	json_key_text(json, "name", manifest->name);
	json_key_bool(json, "is_damaged", result < 0);
	if (result == 0) {
		json_key_u64(json, "created_ns", contents->created_ns);
		json_key_u64(json, "format", contents->format);
		json_key_u64(json, "batches", contents->batches);
		json_key_u64(json, "rows", contents->rows);
		json_key_u64(json, "samples", contents->samples);
		json_key_u64(json, "windows", contents->windows);
		json_key_u64(json, "files", manifest->files_count);
		json_key_u64(json, "bytes", backup_manifest_bytes(manifest));
	}
	json_object_end(json);
}

/* Of the moment, in UTC: names sort as times. */
static void backup_name_now(char ret_name[32])
{
	time_t now = (time_t)(clock_unix_ns(clock_real()) / NS_PER_S);
	struct tm utc;
	snprintf(ret_name, 32, "backup");
	if (gmtime_r(&now, &utc))
		(void)strftime(ret_name, 32, "%Y%m%dT%H%M%SZ", &utc);
}

int admin_backup_create(struct admin_call *call)
{
	struct store_backup_options options = backup_options(call);
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	char name[32];
	if (!*options.name) {
		backup_name_now(name);
		options.name = name;
	}
	int r = store_backup_create(
	        call->store, options, &manifest, call->error, sizeof(call->error));
	if (r < 0)
		return backup_refused(call, r);
	json_key_text(call->json, "folder", call->backups);
	json_key(call->json, "created");
	backup_put(call->json, &manifest, 0);
	return backup_note(call, "backup.create", options.name, NULL, 0);
}

static int backup_list_one(void *owner, const struct backup_manifest *manifest, int result)
{
	backup_put(owner, manifest, result);
	return 0;
}

int admin_backup_list(struct admin_call *call)
{
	json_key_text(call->json, "folder", call->backups);
	json_key(call->json, "backups");
	json_array_begin(call->json);
	int r = store_backup_list(call->backups, backup_list_one, call->json);
	json_array_end(call->json);
	/* Nobody made one yet. */
	return r == -ENOENT ? 0 : r < 0 ? admin_failed(call, call->backups, r) : 0;
}

/* Does the folder, which need not be there yet, lie in the running store's or among the backups? */
static bool restore_is_within(const char *to, const char *folder)
{
	autofree char *whole = realpath(folder, NULL);
	autofree char *target = strdup(to);
	size_t count = whole ? strlen(whole) : 0;
	while (whole && target && *target) {
		autofree char *real = realpath(target, NULL);
		if (real)
			return strncmp(real, whole, count) == 0 &&
			       (real[count] == '/' || real[count] == 0);
		char *last = strrchr(target, '/');
		if (!last)
			return false;
		*last = 0; /* the folder above it */
	}
	return false;
}

int admin_backup_restore(struct admin_call *call)
{
	struct store_backup_options options = backup_options(call);
	const char *to = json_body_text(call->body, "to");
	if (to[0] != '/')
		return admin_refuse(call, WIRE_INVALID,
		        "say where to on the aggregator's host; write --to /a/whole/path");
	if (restore_is_within(to, call->keeper->options.data) ||
	        restore_is_within(to, call->backups))
		return admin_refuse(call, WIRE_INVALID,
		        "%s is in the running store's folder, or in that of the backups; write "
		        "--to "
		        "another place",
		        to);
	int r = store_backup_restore(options, to, call->error, sizeof(call->error));
	if (r < 0)
		return backup_refused(call, r);
	json_key_text(call->json, "restored", options.name);
	json_key_text(call->json, "to", to);
	return backup_note(call, "backup.restore", options.name, to, 0);
}

struct backup_findings {
	struct json_writer *json;
	uint32_t count;
};

static int backup_on_finding(void *owner, const struct store_finding *finding)
{
	struct backup_findings *findings = owner;
	if (finding->kind != STORE_FINDING_DAMAGE || findings->count++ >= BACKUP_FINDINGS_MAX)
		return 0;
	json_object_begin(findings->json);
	json_key_text(findings->json, "family", finding->family);
	json_key_text(findings->json, "key", finding->key);
	json_key_text(findings->json, "reason", finding->reason);
	json_key_text(findings->json, "missing", finding->missing);
	json_object_end(findings->json);
	return 0;
}

/* Every byte as it was backed up, then every record and reference in it. */
int admin_backup_verify(struct admin_call *call)
{
	struct store_backup_options options = backup_options(call);
	struct backup_findings findings = { .json = call->json };
	struct store_verify_summary summary = { 0 };
	char path[4096];
	int r = store_backup_verify(options, call->error, sizeof(call->error));
	if (r < 0 && r != -EBADMSG)
		return backup_refused(call, r);
	json_key_text(call->json, "verified", options.name);
	json_key_text(call->json, "why", r < 0 ? call->error : "");
	json_key(call->json, "findings");
	json_array_begin(call->json);
	if (r == 0) {
		snprintf(path, sizeof(path), "%s/%s/store", call->backups, options.name);
		struct store_verify_options verify = {
			.path = path,
			.limits = call->limits,
			.found = backup_on_finding,
			.owner = &findings,
		};
		r = store_verify(&verify, &summary, call->error, sizeof(call->error));
		if (r < 0)
			return backup_refused(call, r);
		r = summary.damaged > 0 ? -EBADMSG : 0;
	}
	json_array_end(call->json);
	json_key_bool(call->json, "is_damaged", r < 0);
	json_key_u64(call->json, "damaged", summary.damaged);
	json_key_u64(call->json, "records", summary.records);
	json_key_u64(call->json, "rows", summary.rows);
	return 0;
}

int admin_backup_delete(struct admin_call *call)
{
	struct store_backup_options options = backup_options(call);
	int r = store_backup_delete(options, call->error, sizeof(call->error));
	if (r < 0)
		return backup_refused(call, r);
	json_key_text(call->json, "deleted", options.name);
	return backup_note(call, "backup.delete", options.name, NULL, 0);
}
