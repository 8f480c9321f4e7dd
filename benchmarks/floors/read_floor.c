/* Bulk floor, `read_floor COMMAND...`: runs the command on a PTY and only reads it.
 *
 * Prints {"bytes", "seconds", "cpu_seconds"}: from the first byte to the last; CPU of this process alone.
 */
#include "pty.h"
#include <sys/resource.h>

enum { READ_BYTES = 65536 };

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: read_floor COMMAND...\n");
        return 2;
    }
    static char buffer[READ_BYTES];
    pid_t pid;
    int master = spawn_on_pty(argv + 1, &pid);

    long long total = read(master, buffer, sizeof buffer);
    double started = now_s(), cpu_started = cpu_s();
    ssize_t count;
    while ((count = read(master, buffer, sizeof buffer)) > 0) /* EIO ends it: Linux's way to say that the slave is closed */
        total += count;
    double seconds = now_s() - started, cpu_seconds = cpu_s() - cpu_started;

    waitpid(pid, NULL, 0);
    printf("{\"bytes\": %lld, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n", total, seconds, cpu_seconds);
    return 0;
}
