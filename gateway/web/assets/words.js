// The words of the page, one object a language; all have the same keys.
export const words = {
  en: {
    studies: "Studies", patientName: "Patient", patientID: "Patient ID", date: "Date", modality: "Modality",
    description: "Description", instances: "Instances", get: "Retrieve", search: "Search", more: "Show more",
    zip: "ZIP", metadata: "Metadata", loading: "Searching…", none: "No study found.", found: "{n} shown",
    failed: "The search failed: {why}", operations: "Operations",
  },
  fr: {
    studies: "Examens", patientName: "Patient", patientID: "Identifiant", date: "Date", modality: "Modalité",
    description: "Description", instances: "Instances", get: "Récupérer", search: "Rechercher", more: "Afficher la suite",
    zip: "ZIP", metadata: "Métadonnées", loading: "Recherche…", none: "Aucun examen trouvé.", found: "{n} affichés",
    failed: "La recherche a échoué\u00a0: {why}", operations: "Exploitation",
  },
  de: {
    studies: "Untersuchungen", patientName: "Patient", patientID: "Patienten-ID", date: "Datum", modality: "Modalität",
    description: "Beschreibung", instances: "Instanzen", get: "Abrufen", search: "Suchen", more: "Mehr anzeigen",
    zip: "ZIP", metadata: "Metadaten", loading: "Suche läuft…", none: "Keine Untersuchung gefunden.", found: "{n} angezeigt",
    failed: "Die Suche ist fehlgeschlagen: {why}", operations: "Betrieb",
  },
};
