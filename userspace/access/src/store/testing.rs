//! Stores for tests: an SQLite file, or a database of its own on a PostgreSQL server that the tests start.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::{PostgresStore, SqliteStore, Store};
use crate::{PostgresConfig, StoreConfig};

/// Makes of each function a test on SQLite and one on PostgreSQL.
macro_rules! on_both_stores {
    ($($(#[$attribute:meta])* $name:ident)*) => {
        mod sqlite {
            $($(#[$attribute])* #[test] fn $name() { super::$name($crate::store::testing::Place::sqlite().into()); })*
        }
        mod postgres {
            $($(#[$attribute])* #[test] fn $name() { super::$name($crate::store::testing::Place::postgres().into()); })*
        }
    };
}
pub(crate) use on_both_stores;

/// Where a test's store is. It can be opened several times, as if by several bastions.
pub(crate) enum Place {
    Sqlite(tempfile::TempDir),
    Postgres { url: tempfile::NamedTempFile, server: Arc<Server>, database: String },
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Place::Sqlite(tempfile::tempdir().unwrap())
    }

    /// On the server that all tests share.
    pub(crate) fn postgres() -> Self {
        static SHARED: LazyLock<Arc<Server>> = LazyLock::new(|| Arc::new(Server::plain()));
        Self::on(&SHARED)
    }

    pub(crate) fn on(server: &Arc<Server>) -> Self {
        let database = server.database();
        let url = server.url(&database);
        Place::Postgres { url: private_file(&url), server: Arc::clone(server), database }
    }

    /// Another one of the kind.
    pub(crate) fn another(&self) -> Self {
        match self {
            Place::Sqlite(_) => Self::sqlite(),
            Place::Postgres { server, .. } => Self::on(server),
        }
    }

    pub(crate) fn config(&self) -> StoreConfig {
        match self {
            Place::Sqlite(dir) => StoreConfig::Sqlite(dir.path().join("db")),
            Place::Postgres { url, .. } => StoreConfig::Postgres(PostgresConfig {
                url_file: url.path().into(),
                certificate_authority: None,
            }),
        }
    }

    pub(crate) fn open(&self) -> Arc<dyn Store> {
        self.try_open().unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_open(&self) -> Result<Arc<dyn Store>, crate::AccessError> {
        Ok(match self.config() {
            StoreConfig::Sqlite(path) => Arc::new(SqliteStore::open(&path)?),
            StoreConfig::Postgres(postgres) => Arc::new(PostgresStore::open(&postgres)?),
        })
    }

    /// Does `sql` past the store.
    pub(crate) fn execute(&self, sql: &str) -> Result<(), String> {
        match self {
            Place::Sqlite(dir) => {
                let connection = rusqlite::Connection::open(dir.path().join("db")).unwrap();
                connection.execute_batch(sql).map_err(|error| error.to_string())
            }
            Place::Postgres { server, database, .. } => {
                server.execute(database, &format!("SET search_path TO portcullis; {sql}"))
            }
        }
    }
}

/// A PostgreSQL server without the guarantees that cost time. It ends with the test process, however that ends.
pub(crate) struct Server {
    dir: PathBuf,
    port: Option<u16>,
    postmaster: u32,
    /// Holds the pipe whose end tells it that nobody needs the server any more.
    _keeper: Child,
}

/// As the keeper of a server: runs it until standard input ends, and tidies up.
const KEEPER: &str = r#"
trap "" INT TERM # whoever stops the tests stops their whole group; this one stays to tidy up
as=""
if [ "$(id -u)" = 0 ]; then
    chown -R "$USER_TO_BE": "$DIR"
    as="setpriv --reuid=$USER_TO_BE --regid=$(id -g "$USER_TO_BE") --clear-groups"
fi
cd /
$as "$BIN/initdb" -D "$DIR/data" -U owner -A trust --no-sync -E UTF8 --locale=C >"$DIR/log" 2>&1 || exit 1
$as "$BIN/postgres" -D "$DIR/data" -k "$DIR" -c listen_addresses= -c fsync=off -c full_page_writes=off \
    -c shared_buffers=32MB "$@" >>"$DIR/log" 2>&1 </dev/null &
echo "$!"
cat >/dev/null
kill -CONT $(ps -o pid= --ppid "$!") "$!" 2>/dev/null
kill -QUIT "$!" 2>/dev/null
wait
rm -rf "$DIR"
"#;

impl Server {
    /// Starts one with what it has by default.
    pub(crate) fn plain() -> Self {
        Self::start(None, |_| Vec::new())
    }

    /// Starts one; `prepare` may put files into its folder and says which settings to add.
    pub(crate) fn start(port: Option<u16>, prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let dir = tempfile::Builder::new().prefix("portcullis-pg-").tempdir().unwrap().keep();
        let mut settings = prepare(&dir);
        settings.extend(port.map(|port| format!("port={port}")));
        let arguments = settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]);
        let user = ["postgres", "nobody"].into_iter().find(|user| {
            Command::new("id")
                .arg(user)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success()
        });
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .args(arguments)
            .env("BIN", binaries())
            .env("DIR", &dir)
            .env("USER_TO_BE", user.expect("neither a user postgres nor nobody to run the server as"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        let postmaster = line.trim().parse().unwrap_or_else(|_| panic!("initdb failed: {}", log()));
        let server = Self { dir: dir.clone(), port, postmaster, _keeper: keeper };
        let begun = Instant::now();
        while let Err(error) = server.execute("postgres", "SELECT 1") {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "the server does not start: {error}\n{}",
                log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new database; its name.
    pub(crate) fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        name
    }

    pub(crate) fn url(&self, database: &str) -> String {
        self.url_of("owner", database)
    }

    pub(crate) fn url_of(&self, user: &str, database: &str) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let folder = self.dir.display().to_string().replace('/', "%2F");
        format!("postgres://{user}@{folder}{port}/{database}")
    }

    pub(crate) fn execute(&self, database: &str, sql: &str) -> Result<(), String> {
        self.execute_as("owner", database, sql)
    }

    pub(crate) fn execute_as(&self, user: &str, database: &str, sql: &str) -> Result<(), String> {
        let config: tokio_postgres::Config = self.url_of(user, database).parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let connected = config.connect(tokio_postgres::NoTls).await;
            let (client, connection) = connected.map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            let done = client.batch_execute(sql).await;
            done.map_err(|error| error.as_db_error().map_or(error.to_string(), |said| said.message().into()))
        })
    }

    /// Sends a signal to all its processes: `STOP`, `CONT`, `KILL`.
    pub(crate) fn signal(&self, signal: &str) {
        let postmaster = self.postmaster.to_string();
        kill(signal, [postmaster].into_iter().chain(self.children()));
    }

    /// Its processes die, and it begins anew by itself.
    pub(crate) fn crash(&self) {
        kill("KILL", self.children());
    }

    fn children(&self) -> Vec<String> {
        let postmaster = self.postmaster.to_string();
        let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &postmaster]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
    }
}

fn kill(signal: &str, pids: impl IntoIterator<Item = String>) {
    // Some may have ended since.
    Command::new("kill").arg(format!("-{signal}")).args(pids).stderr(Stdio::null()).status().unwrap();
}

/// The newest that is installed.
fn binaries() -> PathBuf {
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = installed.map(|entry| entry.path()).filter(|path| path.join("bin/postgres").exists());
    newest
        .max_by_key(version)
        .map(|path| path.join("bin"))
        .expect("no PostgreSQL server in /usr/lib/postgresql; install it: apt-get install -y postgresql")
}

/// A file that only this user can read.
pub(crate) fn private_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}
