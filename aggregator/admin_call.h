#pragma once

/* What admin.c, the files of its methods and their tests share: a request that is being answered.
 */

#include "aggregator/admin.h"
#include "aggregator/admin_running.h"
#include "aggregator/json_body.h"
#include "aggregator/keeper_work.h"
#include "core/json.h"
#include "profile/wire.h"

#define ADMIN_ERROR_BYTES 1024

/* One request that is being answered. */
struct admin_call {
	struct store *store;
	struct keeper *keeper;         /* locked, but for methods that are free of it */
	const char *backups;           /* the folder of backups */
	struct dict_limits limits;     /* of the store's dictionary */
	struct admin_running *running; /* NULL: nobody asks how far it is */
	uint32_t place;                /* this request's there */
	/* Over the store's windows: how many it makes, 0 for one, and how many were begun. */
	uint32_t passes, passes_begun;
	struct keeper_actor by;
	const struct config_node *body; /* NULL: empty */
	struct json_writer *json;       /* the reply; an object is open */
	enum wire_status status;        /* of a refusal; WIRE_FAILED unless said */
	char error[ADMIN_ERROR_BYTES];
};

/* 0 with the reply written, or negative with status and error. */
typedef int (*admin_method)(struct admin_call *call);

/* Sets status and error; returns -EINVAL. */
int admin_refuse(struct admin_call *call, enum wire_status status, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* Says a negative errno of the store: returns it. */
int admin_failed(struct admin_call *call, const char *doing, int r);

/* The next of its passes over the store's windows, for whoever asks how far it is. */
struct store_pass admin_pass(struct admin_call *call);

/* What went, or came back, as keys of the open object. */
void admin_put_expired(const struct store_expired *expired, struct json_writer *json);

/* JSON for the audit log, with a zero behind it: added, changed and removed, as names. */
void admin_describe_changes(
        const struct retention_set *before, const struct retention_set *after, struct buf *to);
/* Refuses policies with the names that are said where no policy decides. */
int admin_refuse_reserved(struct admin_call *call, const struct retention_set *set);

/* Undoes what a selector and a range say, or only says it. -ENOENT: none of the runs is there. */
int admin_undo_some(struct admin_call *call, const uint64_t *ids, uint32_t count);

int admin_retention_list(struct admin_call *call);
int admin_retention_get(struct admin_call *call);
int admin_retention_set(struct admin_call *call);
int admin_retention_delete(struct admin_call *call);
int admin_retention_explain(struct admin_call *call);
int admin_retention_plan(struct admin_call *call);
int admin_retention_apply(struct admin_call *call);
int admin_retention_status(struct admin_call *call);
int admin_retention_undo(struct admin_call *call);
int admin_retention_forget(struct admin_call *call);
int admin_hold_create(struct admin_call *call);
int admin_hold_list(struct admin_call *call);
int admin_hold_release(struct admin_call *call);
int admin_usage(struct admin_call *call);
int admin_audit_list(struct admin_call *call);
int admin_audit_verify(struct admin_call *call);
int admin_backup_create(struct admin_call *call);
int admin_backup_list(struct admin_call *call);
int admin_backup_restore(struct admin_call *call);
int admin_backup_verify(struct admin_call *call);
int admin_backup_delete(struct admin_call *call);
