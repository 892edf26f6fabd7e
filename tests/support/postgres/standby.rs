//! A server that repeats what another one writes.

use std::fs;
use std::sync::Mutex;

use super::{Cluster, Server, new_folder, template};

impl Cluster {
    /// Starts a hot standby of this server, which is restarted for it: the standby begins as a
    /// copy, and so has everything that was committed before, without waiting. It is stopped and
    /// removed when dropped. Panics where either does not start.
    #[must_use]
    pub fn standby(&self) -> Cluster {
        assert!(self.small_disk.is_none(), "what is on a small disk cannot be copied");
        let folder = new_folder();
        self.run_as.give(&folder);
        self.stop("INT");
        template::copy(&self.folder.join("data"), &folder.join("data"), self.run_as);
        self.start_again();
        let signal = folder.join("data/standby.signal");
        fs::write(&signal, "").expect("the data folder can be written");
        self.run_as.give(&signal);
        let mut settings = self.settings.clone();
        // A later one overrides an earlier.
        settings.push(("unix_socket_directories".to_owned(), folder.display().to_string()));
        let primary = format!("host=127.0.0.1 port={} user=postgres", self.port);
        settings.push(("primary_conninfo".to_owned(), primary));
        let mut standby = Cluster {
            binaries: self.binaries.clone(),
            run_as: self.run_as,
            settings,
            port: 0,
            server: Server::local(0, folder.clone(), self.binaries.program("psql")),
            certificates: None,
            small_disk: None,
            running: Mutex::default(),
            folder,
        };
        standby.start_on_a_free_port();
        standby
    }
}
