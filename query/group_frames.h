#pragma once

/*
 * group_frames is what --by means where stacks are shown: the values of the labels become the
 * outermost frame of every stack, such as region="eu",version="2", so that a tree or a flame graph
 * parts there first, and whatever it is written as says so too.
 */

#include "query/source.h"

/*
 * source_load() of the one side of a request, of which words and question are set, grouped by the
 * labels of --by (NULL: none) over a range. What nobody asked to group stays as it is. 0, or an
 * exit code after complaining.
 */
int group_frames_load(const char *by, const struct range_args *range,
        const struct shared_args *shared, struct source_request *request,
        struct source **ret_source);
