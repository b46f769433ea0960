/* verb_status.c: bakactl status. Exit 0 says that a daemon serves. */
#include "cli/verb.h"

#include <math.h>
#include <stdio.h>
#include "cli/client.h"
#include "cli/output.h"
#include "cli/run_view.h"

static void print_slots(const cJSON *slots)
{
    const cJSON *cpu = cJSON_GetObjectItemCaseSensitive(slots, "cpu"), *gpu;
    printf("CPU slots   %.0f of %.0f in use\n", run_number(cpu, "used"), run_number(cpu, "total"));
    int index = 0;
    cJSON_ArrayForEach(gpu, cJSON_GetObjectItemCaseSensitive(slots, "gpu")) {
        char memory[RUN_VIEW_SIZE];
        const cJSON *used = cJSON_GetObjectItemCaseSensitive(gpu, "used");
        bool busy = cJSON_IsTrue(used) || (cJSON_IsNumber(used) && used->valuedouble > 0);
        printf("GPU %-2d      %s, %s, %s\n", index++, run_text(gpu, "name"),
               run_format_bytes(run_number(gpu, "memory_bytes"), memory), busy ? "in use" : "free");
    }
    if (index == 0)
        printf("GPUs        none\n");
}

static int run(struct cli *cli)
{
    struct err err = {0};
    struct client *client;
    cJSON *status = NULL;
    if (cli_client(cli, &client, &err) || client_get(client, "/v1/status", &status, &err))
        return cli_fail(cli, &err);
    if (cli->json) {
        output_json(stdout, status);
    } else {
        char uptime[RUN_VIEW_SIZE];
        printf("bakad %s serves %s\n", run_text(status, "version"), run_text(status, "home"));
        printf("pid         %.0f, up %s\n", run_number(status, "pid"),
               run_format_seconds(run_number(status, "uptime_s"), uptime));
        print_slots(cJSON_GetObjectItemCaseSensitive(status, "slots"));
        const cJSON *queue = cJSON_GetObjectItemCaseSensitive(status, "queue");
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(queue, "paused")))
            puts("queue       paused: nothing starts until `bakactl resume --all`");
        if (*run_text(status, "trouble"))
            printf("waiting     %s\n", run_text(status, "trouble"));
        const cJSON *stuck;
        cJSON_ArrayForEach(stuck, cJSON_GetObjectItemCaseSensitive(status, "quarantined"))
            printf("cannot be killed: %s, %s; its slots stay taken\n", run_text(stuck, "run"), run_text(stuck, "what"));
        printf("runs       ");
        int shown = 0;
        const cJSON *count;
        cJSON_ArrayForEach(count, cJSON_GetObjectItemCaseSensitive(status, "runs"))
            if (count->valuedouble > 0)
                printf("%s %.0f %s", shown++ ? "," : "", count->valuedouble, count->string);
        printf("%s\n", shown ? "" : " none");
    }
    cJSON_Delete(status);
    return CLI_DONE;
}

const struct verb verb_status = {
    .name = "status",
    .path = "status",
    .arguments = "[--json]",
    .summary = "whether a daemon serves, its slots and its runs by state",
    .help = "Exits 0 when a daemon serves the state directory, 3 when none does.\n"
            "\n"
            "Examples:\n"
            "  bakactl status\n"
            "  bakactl status --json | jq .runs\n",
    .run = run,
};
