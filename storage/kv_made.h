#pragma once

/*
 * kv_made is the names of files that are made beside the database, to become part of it. They begin
 * in a way that no file of RocksDB does, so that what a killed process left can be swept.
 */

#include <stddef.h>
#include <stdint.h>

#define KV_MADE_FIRST "profleet-made-"

/* Zeroed: there are none. */
struct kv_made {
	char **names; /* with the folder */
	size_t count;
	size_t capacity;
};

/* *ret_name is borrowed. -ENOMEM. -E2BIG: more than are ever taken in at once. */
int kv_made_add(struct kv_made *made, const char *folder, uint64_t number, const char **ret_name);

/* The files; who opens the folder next does what fails here. */
void kv_made_remove(const struct kv_made *made);

void kv_made_fini(struct kv_made *made);
