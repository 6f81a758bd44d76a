package rpc

import (
	"errors"

	"github.com/esante-alsace/cigogne/storage"
)

// advice is what to do about something, in the languages that operators read.
type advice struct {
	check      string // its name; "" is any
	when       error  // what its error is; nil is any
	en, fr, de string
}

// advices are tried in their order; the last fits everything.
func advices() []advice { //nolint:funlen // a table
	return []advice{
		{
			"journal", storage.ErrFull,
			"Make space on the journal’s disk, or raise --journal-max; see whether archives take packs. Senders are refused until then, and nothing that was acknowledged is lost.",
			"Libérez de la place sur le disque du journal ou augmentez --journal-max\u202f; vérifiez que les archives reçoivent des paquets. Les envois sont refusés d’ici là, rien de ce qui a été acquitté n’est perdu.",
			"Schaffen Sie Platz auf dem Datenträger des Journals oder erhöhen Sie --journal-max; prüfen Sie, ob die Archive Pakete annehmen. Bis dahin wird nichts angenommen, und nichts Bestätigtes geht verloren.",
		},
		{
			"journal", storage.ErrCorrupt,
			"Stop the node and run ‘cigogne fsck’: it tells what is damaged. Check the disk.",
			"Arrêtez le nœud et lancez «\u00a0cigogne fsck\u00a0»\u00a0: la commande dit ce qui est endommagé. Contrôlez le disque.",
			"Halten Sie den Knoten an und rufen Sie „cigogne fsck“ auf: es sagt, was beschädigt ist. Prüfen Sie den Datenträger.",
		},
		{
			"journal", nil,
			"Check that the journal’s disk is mounted and can be written to; the node’s log tells more.",
			"Vérifiez que le disque du journal est monté et accessible en écriture\u202f; le journal d’événements du nœud en dit plus.",
			"Prüfen Sie, ob der Datenträger des Journals eingehängt und beschreibbar ist; das Protokoll des Knotens sagt mehr.",
		},
		{
			"index", storage.ErrFull,
			"Make space on the index’s disk. It catches up by itself afterwards.",
			"Libérez de la place sur le disque de l’index. Il se remet à jour ensuite de lui-même.",
			"Schaffen Sie Platz auf dem Datenträger des Index. Danach holt er von selbst auf.",
		},
		{
			"index", storage.ErrCorrupt,
			"Stop the node and run ‘cigogne archive rebuild-index’: the index is made anew from packs and journal.",
			"Arrêtez le nœud et lancez «\u00a0cigogne archive rebuild-index\u00a0»\u00a0: l’index est reconstruit à partir des paquets et du journal.",
			"Halten Sie den Knoten an und rufen Sie „cigogne archive rebuild-index“ auf: der Index wird aus Paketen und Journal neu gemacht.",
		},
		{
			"index", nil,
			"Wait a moment: the index is behind the journal. When it stays so, look into the node’s log and at the load of its disk.",
			"Patientez\u00a0: l’index est en retard sur le journal. Si cela dure, consultez le journal d’événements du nœud et la charge de son disque.",
			"Warten Sie einen Moment: der Index hinkt dem Journal hinterher. Bleibt es dabei, sehen Sie in das Protokoll des Knotens und auf die Last seines Datenträgers.",
		},
		{
			"archive", storage.ErrFull,
			"Make space in the archive. Instances stay in the journal meanwhile, which grows.",
			"Libérez de la place dans l’archive. Les instances restent entre-temps dans le journal, qui grossit.",
			"Schaffen Sie Platz im Archiv. Die Instanzen bleiben solange im Journal, das wächst.",
		},
		{
			"archive", storage.ErrForbidden,
			"Check the archive’s credentials and its bucket’s policy.",
			"Vérifiez les identifiants de l’archive et la politique de son compartiment.",
			"Prüfen Sie die Zugangsdaten des Archivs und die Richtlinie seines Buckets.",
		},
		{
			"archive", nil,
			"Check that the archive runs and can be reached from this node. Instances stay in the journal meanwhile, which grows; it drains by itself afterwards.",
			"Vérifiez que l’archive fonctionne et qu’elle est joignable depuis ce nœud. Les instances restent entre-temps dans le journal, qui grossit\u202f; il se vide ensuite de lui-même.",
			"Prüfen Sie, ob das Archiv läuft und von diesem Knoten aus erreichbar ist. Die Instanzen bleiben solange im Journal, das wächst; danach leert es sich von selbst.",
		},
		{
			"cluster", nil,
			"See which nodes answer (Nodes.List, ‘cigogne cluster status’) and bring back those that do not: more than half must reach each other. A node that drains takes again when its draining is ended.",
			"Voyez quels nœuds répondent (Nodes.List, «\u00a0cigogne cluster status\u00a0») et ramenez ceux qui ne répondent pas\u00a0: plus de la moitié doivent pouvoir se joindre. Un nœud en vidange reprend quand on y met fin.",
			"Sehen Sie nach, welche Knoten antworten (Nodes.List, „cigogne cluster status“), und bringen Sie die übrigen zurück: mehr als die Hälfte müssen einander erreichen. Ein Knoten, der geleert wird, nimmt wieder auf, wenn das beendet wird.",
		},
		{
			"copies", nil,
			"Bring back the nodes that do not answer: an instance must lie on several before its sender is told. Senders are refused until then, and nothing that was acknowledged is lost.",
			"Ramenez les nœuds qui ne répondent pas\u00a0: une instance doit se trouver sur plusieurs avant que l’expéditeur soit acquitté. Les envois sont refusés d’ici là, rien de ce qui a été acquitté n’est perdu.",
			"Bringen Sie die Knoten zurück, die nicht antworten: eine Instanz muss auf mehreren liegen, bevor ihr Absender Bescheid bekommt. Bis dahin wird nichts angenommen, und nichts Bestätigtes geht verloren.",
		},
		{
			"", nil,
			"Look into the node’s log.",
			"Consultez le journal d’événements du nœud.",
			"Sehen Sie in das Protokoll des Knotens.",
		},
	}
}

// Action is what to do about a check that fails with err, in a language: "en",
// "fr" or "de"; another one is English.
func Action(check string, err error, language string) string {
	for _, a := range advices() {
		if a.check != "" && a.check != check || a.when != nil && !errors.Is(err, a.when) {
			continue
		}
		switch language {
		case "fr":
			return a.fr
		case "de":
			return a.de
		}
		return a.en
	}
	return ""
}
