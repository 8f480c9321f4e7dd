"""The smallest Flask-Shell2HTTP application, for gunicorn: `gunicorn benchmarks.shell2http_server:app`.

Its jobs run on as many threads as the daemon's run at a time by default; its own default would be CPUs + 4.
"""

from flask import Flask
from flask_executor import Executor
from flask_shell2http import Shell2HTTP

from benchmarks.job_commands import COMMANDS, PREFIX

app = Flask(__name__)
app.config["EXECUTOR_MAX_WORKERS"] = 16
shell2http = Shell2HTTP(app=app, executor=Executor(app), base_url_prefix=f"{PREFIX}/")
for name, command in COMMANDS.items():
    shell2http.register_command(endpoint=name, command_name=command)
