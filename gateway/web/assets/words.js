// The words of the page, one object a language; all have the same keys.
export const words = {
  en: {
    studies: "Studies", patientName: "Patient", patientID: "Patient ID", date: "Date", modality: "Modality",
    description: "Description", instances: "Instances", get: "Retrieve", search: "Search", more: "Show more",
    zip: "ZIP", metadata: "Metadata", loading: "Searching…", none: "No study found.", foundOne: "{n} shown", found: "{n} shown",
    failed: "The search failed: {why}", operations: "Operations", language: "Language",
  },
  fr: {
    studies: "Examens", patientName: "Patient", patientID: "Identifiant", date: "Date", modality: "Modalité",
    description: "Description", instances: "Instances", get: "Récupérer", search: "Rechercher", more: "Afficher la suite",
    zip: "ZIP", metadata: "Métadonnées", loading: "Recherche…", none: "Aucun examen trouvé.", foundOne: "{n} affiché", found: "{n} affichés",
    failed: "La recherche a échoué\u00a0: {why}", operations: "Exploitation", language: "Langue",
  },
  de: {
    studies: "Untersuchungen", patientName: "Patient", patientID: "Patienten-ID", date: "Datum", modality: "Modalität",
    description: "Beschreibung", instances: "Instanzen", get: "Abrufen", search: "Suchen", more: "Mehr anzeigen",
    zip: "ZIP", metadata: "Metadaten", loading: "Suche läuft…", none: "Keine Untersuchung gefunden.", foundOne: "{n} angezeigt", found: "{n} angezeigt",
    failed: "Die Suche ist fehlgeschlagen: {why}", operations: "Betrieb", language: "Sprache",
  },
};
